// Plots of costs, drawn as SVG. Each has a sentence for those who do not see it, and stands beside a table.

import {h, money, roundMoney, svg} from "./elements.js";

// The parts of what was billed, in the order of the bars. Their classes give them colours.
export const costParts = [
  {key: "paid", name: "Plan paid", class: "part-paid"},
  {key: "owed", name: "You owe", class: "part-owed"},
  {key: "other", name: "Other payers", class: "part-other"},
  {key: "saved", name: "Discount", class: "part-saved"},
  {key: "refused", name: "Not covered", class: "part-refused"},
];

// legend names the parts that any of the rows have.
export function legend(rows) {
  return h("ul", {class: "legend"}, costParts.filter(p => rows.some(r => r[p.key] > 0)).map(p =>
    h("li", {}, svg("svg", {class: "swatch", viewBox: "0 0 14 14", width: "14", height: "14", "aria-hidden": "true"}, svg("rect", {width: "14", height: "14", rx: "3", class: p.class})), p.name)));
}

// stack draws the parts of one row on a bar whose full width is most cents.
function stack(row, most, width, height) {
  let x = 0;
  const gap = 2, shown = costParts.filter(p => row[p.key] > 0);
  return shown.map((p, i) => {
    const length = Math.max(1.5, row[p.key] / most * width - (i < shown.length - 1 ? gap : 0));
    const bar = svg("rect", {x: x.toFixed(1), y: "0", width: length.toFixed(1), height, rx: "3", class: p.class}, svg("title", {}, `${p.name}: ${money(row[p.key])}`));
    x += length + gap;
    return bar;
  });
}

const sentence = row => `${row.name}: billed ${money(row.billed)}, your plan paid ${money(row.paid)}, you owe ${money(row.owed)}.`;

// costBars draws one bar for each row, all to the same scale.
export function costBars(rows, title) {
  const most = Math.max(1, ...rows.map(r => r.billed)), width = 400, height = 26;
  return h("figure", {class: "plot"},
    h("figcaption", {class: "visually-hidden"}, `${title}. ${rows.map(sentence).join(" ")}`),
    h("div", {class: "bars", "aria-hidden": "true"}, rows.map(row => [
      h("span", {class: "bar-name"}, row.name),
      svg("svg", {class: "bar", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none"}, stack(row, most, width, height)),
      h("span", {class: "bar-total"}, roundMoney(row.billed)),
    ])),
    legend(rows));
}

// costBar draws the parts of one claim, or of one year.
export function costBar(row) {
  return h("figure", {class: "plot"},
    h("figcaption", {class: "visually-hidden"}, sentence(row)),
    svg("svg", {class: "bar single-bar", viewBox: "0 0 400 22", preserveAspectRatio: "none", "aria-hidden": "true"}, stack(row, Math.max(1, row.billed), 400, 22)),
    legend([row]));
}
