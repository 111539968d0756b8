// Small helpers that make elements, and write dates and amounts as people read them.

// h makes an element. Properties that begin with "on" are listeners; others are attributes, and false leaves one out.
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

// svg is h for drawings.
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false && c !== ""));
  return element;
}

const dollars = new Intl.NumberFormat("en-US", {style: "currency", currency: "USD"});
const whole = new Intl.NumberFormat("en-US", {style: "currency", currency: "USD", maximumFractionDigits: 0});

export const money = cents => dollars.format((cents ?? 0) / 100);
export const roundMoney = cents => whole.format((cents ?? 0) / 100);

const dayForm = new Intl.DateTimeFormat("en-US", {year: "numeric", month: "short", day: "numeric", timeZone: "UTC"});
const monthForm = new Intl.DateTimeFormat("en-US", {year: "numeric", month: "long", timeZone: "UTC"});

const formatted = (form, date) => date ? form.format(new Date(`${date.slice(0, 10).padEnd(10, "-01")}T00:00:00Z`)) : "";
export const day = date => formatted(dayForm, date);
export const month = date => formatted(monthForm, date);

export const many = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

// today is a date in the zone of the reader.
export function today() {
  const now = new Date();
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getDate()).padStart(2, "0")}`;
}

// raw is a panel with resources as the API gave them. They are written when it is opened.
export function raw(label, resources, open = false) {
  const list = [resources].flat().filter(Boolean);
  if (!list.length) return null;
  const text = () => JSON.stringify(list.length === 1 ? list[0] : list, null, 2);
  const code = h("pre", {class: "json", tabindex: "0", role: "region", "aria-label": `JSON: ${label}`});
  const panel = h("details", {class: "raw-json", open}, h("summary", {}, h("span", {class: "json-mark", "aria-hidden": "true"}, "{ }"), " JSON ", h("span", {class: "visually-hidden"}, `of ${label}`)), code);
  const write = () => panel.open && !code.textContent && (code.textContent = text());
  panel.addEventListener("toggle", write);
  write();
  return panel;
}

// table makes a table that scrolls by itself where it does not fit. Columns are [heading, numeric]; the first cell of
// a row is its heading.
export function table(caption, columns, rows, foot) {
  const cells = (row, i) => row.map((cell, c) => c === 0
    ? h("th", {scope: "row"}, cell) : h("td", {class: columns[c][1] ? "amount" : false}, cell));
  return h("div", {class: "table-frame", tabindex: "0", role: "region", "aria-label": `Table: ${caption}`},
    h("table", {}, h("caption", {class: "visually-hidden"}, caption),
      h("thead", {}, h("tr", {}, columns.map(([name, numeric]) => h("th", {scope: "col", class: numeric ? "amount" : false}, name)))),
      h("tbody", {}, rows.map(row => h("tr", {}, cells(row)))),
      foot && h("tfoot", {}, h("tr", {}, cells(foot)))));
}
