// The only script of the dashboard: fetches the changing part of the page every few seconds, and
// leaves alone what a person has open, has marked, or stands on. Without it the page works, too.
"use strict";

const live = document.getElementById("live");
const toggle = document.getElementById("toggle");
let isOn = true;

function keep(change) {
  const focused = document.activeElement && document.activeElement.id;
  const open = [...live.querySelectorAll("details[open]")].map((one) => one.id);
  change();
  for (const id of open) {
    const one = document.getElementById(id);
    if (one) one.open = true;
  }
  const again = focused && document.getElementById(focused);
  if (again) again.focus({ preventScroll: true });
}

function isReading() {
  const selection = getSelection();
  return !selection.isCollapsed && live.contains(selection.anchorNode);
}

function show(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  keep(() => live.replaceChildren(...page.body.childNodes));
}

function say(text) {
  const notice = document.createElement("p");
  notice.className = "problem";
  notice.textContent = text;
  const earlier = live.querySelector("p.problem");
  if (earlier) earlier.replaceWith(notice);
  else live.prepend(notice);
}

async function refresh() {
  if (!isOn || document.hidden || isReading()) return;
  try {
    const answer = await fetch("/live", { cache: "no-store", redirect: "error" });
    if (answer.status === 401) location.assign("/login");
    else if ((answer.headers.get("content-type") || "").startsWith("text/html")) show(await answer.text());
    else say("The dashboard answers with " + answer.status + ".");
  } catch {
    say("The dashboard does not answer; these numbers are old.");
  }
}

async function keepRefreshing() {
  await refresh();
  setTimeout(keepRefreshing, Number(live.dataset.every));
}

if (live) {
  setTimeout(keepRefreshing, Number(live.dataset.every));
  document.addEventListener("visibilitychange", refresh);
}
if (toggle) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    isOn = !isOn;
    toggle.setAttribute("aria-pressed", String(isOn));
    refresh();
  });
}
