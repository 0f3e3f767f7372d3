"use strict";
// Shows the lab's state as it comes: a stream of "state" and "events" (ecsconsul/dashboard/web_server.py).

const MOST_EVENTS = 300;
const CLASSES = { passing: "good", running: "good", warning: "warn", stopping: "warn", starting: "new" };
const at = (id) => document.getElementById(id);

/** An element with attributes and children; texts are texts, never markup. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The server's own drawing, in which every text is escaped (ecsconsul/dashboard/drawing.py). */
function draw(place, svg) {
  if (place.dataset.drawn === svg) return;
  place.dataset.drawn = svg;
  const parsed = new DOMParser().parseFromString(svg || "<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml");
  place.replaceChildren(document.importNode(parsed.documentElement, true));
}

function age(since, now) {
  if (since === null) return "";
  const seconds = Math.max(0, Math.round(now - since));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function row(one, now) {
  const kind = CLASSES[one.health] || "bad";
  const health = make("td", {}, make("span", { class: kind }, one.health), one.output ? ` ${one.output}` : "");
  const rest = [one.at, one.node, one.revision, age(one.since, now)].map((text) => make("td", {}, text));
  return make("tr", {}, make("th", { scope: "row" }, one.task || "–"), health, ...rest);
}

const HEADS = ["task", "health", "endpoint", "instance", "revision", "for"];

function service(name) {
  const title = name || "Tasks of no service";
  const plot = make("div", { class: "history" });
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...HEADS.map((text) => make("th", { scope: "col" }, text)))), make("tbody"));
  const label = `Tasks: ${title}`;
  return make("div", { class: "service", "data-service": name },
    make("div", { class: "head" }, make("h3", {}, title), make("span", { class: "count" }), plot),
    make("div", { class: "wide", tabindex: "0", role: "group", "aria-label": label }, table));
}

function count(one) {
  const rolling = one.rolling ? `, rolling out ${one.revision}` : "";
  return `${one.running} of ${one.desired} running, ${one.passing} passing${rolling}`;
}

function showServices(state) {
  const place = at("services");
  const known = new Map([...place.children].map((child) => [child.dataset.service, child]));
  const wanted = state.services.map((one) => {
    const section = known.get(one.name) || service(one.name);
    const text = section.querySelector(".count");
    text.className = `count ${one.well ? "good" : "bad"}`;
    text.textContent = count(one);
    draw(section.querySelector(".history"), one.history);
    section.querySelector("tbody").replaceChildren(...one.rows.map((each) => row(each, state.time)));
    return section;
  });
  // what is there already stays in its place, and keeps the focus
  wanted.forEach((section, number) => {
    if (place.children[number] !== section) place.insertBefore(section, place.children[number] || null);
  });
  while (place.children.length > wanted.length) place.lastChild.remove();
}

function sum(state, key) {
  return state.services.reduce((total, one) => total + one[key], 0);
}

function show(state) {
  document.title = `${state.lab} – ecsconsul`;
  at("title").textContent = state.lab;
  at("summary").textContent = `${sum(state, "running")} of ${sum(state, "desired")} tasks running`
    + ` (${state.target}); leader ${state.leader || "unknown"}`;
  at("connection").textContent = state.lost.join("; ");
  draw(at("picture"), state.picture);
  showServices(state);
  at("members").replaceChildren(...state.members.map((one) =>
    make("li", {}, `${one.name}, ${one.role}: `,
      make("span", { class: one.status === "alive" ? "good" : "bad" }, one.status))));
  at("lookups").replaceChildren(...state.lookups.map((one) =>
    make("li", {}, `${one.caller} looks up ${one.service}: ${one.because.join(", ")}`)));
}

function note(events) {
  const place = at("events");
  for (const one of events) {
    const moment = new Date(one.time * 1000);
    place.prepend(make("li", {},
      make("time", { datetime: moment.toISOString() }, moment.toLocaleTimeString([], { hour12: false })),
      ` ${one.text}`));
  }
  while (place.children.length > MOST_EVENTS) place.lastChild.remove();
}

function record(one, number) {
  const where = `${one.address || one.data}, port ${one.port}`;
  const task = one.task ? `task ${one.task}` : "no task of this lab";
  const more = [one.node, one.status].filter(Boolean).join(", ");
  return `Record ${number + 1} is ${where}: ${task}${more ? ` (${more})` : ""}`;
}

function journey(found) {
  const place = at("journey");
  if (found.error) {
    place.replaceChildren(make("p", { class: "bad" }, [found.error, found.hint].filter(Boolean).join("; ")));
    return;
  }
  const steps = [
    `The question is ${found.name}, type ${found.type}`,
    `${found.server} answers ${found.rcode} over ${found.transport} in ${found.milliseconds} ms`,
    ...(found.records.length ? found.records.map(record) : ["There is no record"]),
  ];
  place.replaceChildren(make("ol", {}, ...steps.map((text) => make("li", {}, text))));
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const answer = await fetch(`lookup?name=${encodeURIComponent(at("name").value)}`);
    journey(answer.ok ? await answer.json() : { error: `The dashboard answers ${answer.status}` });
  } catch (error) {
    journey({ error: "The dashboard doesn't answer", hint: "is `ecsconsul dashboard` still running?" });
  }
});

const stream = new EventSource("stream");
stream.addEventListener("state", (message) => show(JSON.parse(message.data)));
stream.addEventListener("events", (message) => note(JSON.parse(message.data)));
stream.addEventListener("error", () => {
  at("connection").textContent = "The dashboard doesn't answer; is `ecsconsul dashboard` still running?";
});
