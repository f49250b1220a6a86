// Says who is logged in. Without scripts the page keeps its link to /authgate/whoami.
"use strict";

async function sayWho() {
  const answer = await fetch("/authgate/whoami", { headers: { Accept: "application/json" } });
  if (!answer.ok) {
    return;
  }
  const { user, groups } = await answer.json();
  const line = document.getElementById("who");
  const link = document.querySelector(".actions a");
  if (!user) {
    line.textContent = "You are not logged in.";
    return;
  }
  const name = document.createElement("strong");
  name.textContent = user;
  const belongs = groups && groups.length ? `, in ${groups.join(", ")}` : ", in no group";
  line.replaceChildren("You are ", name, `${belongs}.`);
  link.textContent = "Account and log out";
  link.href = "/authgate/whoami";
}

// Also when the page comes back out of the browser's history after a login or logout.
window.addEventListener("pageshow", () => {
  sayWho().catch(() => {});
});
