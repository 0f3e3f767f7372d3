// Asks the portal's JSON API and keeps the two tables; without this file the forms still work (app.py, page).
"use strict";

const KINDS = {
  stock: {
    key: (data) => data.symbol,
    cells: (data) => [
      element("td", {}, data.symbol),
      element("td", {}, data.name, ...badge(data)),
      number(data.price, data.price.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })),
    ],
    spoken: (data) => `${data.name}: ${data.price}`,
  },
  weather: {
    key: (data) => `${data.city}, ${data.country}`,
    cells: (data) => [
      element("td", {}, data.city, ...badge(data)),
      element("td", {}, data.country),
      number(data.temp, `${data.temp.toFixed(1)}\u00a0°${data.format[0]}`),
    ],
    spoken: (data) => `${data.city}: ${data.temp} degrees ${data.format}`,
  },
};

// What users type and services answer only ever becomes text nodes here, so there is nothing to escape.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function number(value, text) {
  return element("td", { class: "number", "data-value": value }, text);
}

function badge(data) {
  return data.source === "demo data" ? [" ", element("span", { class: "badge" }, "demo data")] : [];
}

function records(found) {
  const titles = ["Priority", "Weight", "Port", "Address", "Target"];
  const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
  const rows = found.records.map((record) => {
    const values = [record.priority, record.weight, record.port, record.address ?? "", record.target];
    const cells = values.map((value) => element("td", {}, String(value)));
    return element("tr", record.chosen ? { class: "chosen" } : {}, ...cells);
  });
  const table = element("table", { class: "records" }, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "SRV records" }, table);
}

function how(found) {
  const times = found.milliseconds;
  const lines = [
    ["Name asked", element("code", {}, found.name ?? found.service), " SRV"],
    ["DNS server", element("code", {}, found.server ?? "none")],
    found.records.length ? ["Records", records(found)] : ["Records", "none"],
    ...found.attempts.map((attempt) => ["Called", element("code", {}, attempt.endpoint), ` ${attempt.outcome}`]),
    ["Time", `lookup ${times.lookup} ms, request ${times.request} ms`],
  ];
  const list = lines.flatMap(([term, ...facts]) => [element("dt", {}, term), element("dd", {}, ...facts)]);
  const title = found.endpoint ? `Found at ${found.endpoint} in ${times.total} ms` : "How far the lookup got";
  return element("details", { class: "how" }, element("summary", {}, title), element("dl", {}, ...list));
}

function show(kind, data, discovery) {
  const { key, cells } = KINDS[kind];
  const table = document.getElementById(`${kind}-results`);
  const name = key(data);
  [...table.tBodies].find((body) => body.dataset.key === name)?.remove();
  const more = element("td", { colspan: "3" }, how(discovery));
  const body = element(
    "tbody", { class: "new", "data-key": name, "data-source": data.source },
    element("tr", {}, ...cells(data)), element("tr", {}, more),
  );
  table.tHead.after(body);
  sort(table);
}

function fail(kind, reason, discovery) {
  const box = document.getElementById(`${kind}-error`);
  box.replaceChildren(element("p", {}, reason), ...(discovery ? [how(discovery)] : []));
  document.getElementById(kind).setAttribute("aria-invalid", "true");
}

function clear(kind) {
  document.getElementById(`${kind}-error`).replaceChildren();
  document.getElementById(kind).removeAttribute("aria-invalid");
}

function say(text) {
  document.getElementById("status").textContent = text;
}

async function ask(kind, name) {
  // The portal itself gives up after 5 s; this is for a portal that is gone.
  const response = await fetch(`/api/${kind}/${encodeURIComponent(name)}`, { signal: AbortSignal.timeout(10000) });
  return { ok: response.ok, document: await response.json() };
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const kind = form.dataset.kind;
  const input = form.elements.namedItem(kind);
  const button = form.querySelector("button");
  const name = input.value.trim();
  if (button.getAttribute("aria-disabled") === "true") return;
  clear(kind);
  if (!name) {
    fail(kind, `Type a ${kind === "stock" ? "stock symbol" : "city"} first, ${input.placeholder} for example.`);
    input.focus();
    return;
  }
  // Not `disabled`: that would take the focus away from someone on the keyboard.
  button.setAttribute("aria-disabled", "true");
  say(`Looking up ${name}`);
  try {
    const { ok, document: answer } = await ask(kind, name);
    if (ok) {
      show(kind, answer.data, answer.discovery);
      say(KINDS[kind].spoken(answer.data));
      input.value = "";
    } else {
      fail(kind, answer.reason, answer.discovery);
      say("");
    }
  } catch (error) {
    fail(kind, `The portal did not answer (${error.message}).`);
    say("");
  } finally {
    button.removeAttribute("aria-disabled");
    // Back from the button to the field, but not away from where the user has gone meanwhile.
    if (document.activeElement === document.body || form.contains(document.activeElement)) input.focus();
  }
}

function compare(one, other) {
  if ("value" in one.dataset) return Number(one.dataset.value) - Number(other.dataset.value);
  return one.firstChild.textContent.localeCompare(other.firstChild.textContent, "en");
}

function sort(table) {
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.getAttribute("aria-sort") !== "none");
  if (column < 0) return;
  const sign = heads[column].getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const bodies = [...table.tBodies];
  bodies.sort((one, other) => sign * compare(one.rows[0].cells[column], other.rows[0].cells[column]));
  table.append(...bodies);
}

function turn(table, head) {
  const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", next);
  sort(table);
  say(`Sorted by ${head.textContent}, ${next}`);
}

for (const form of document.forms) form.addEventListener("submit", submit);
for (const table of document.querySelectorAll(".results")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = element("button", { type: "button" }, head.textContent);
    button.addEventListener("click", () => turn(table, head));
    head.replaceChildren(button);
  }
}
