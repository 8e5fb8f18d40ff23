// Builds a recipe's form from `props.groups` and keeps `props.value.values` at what is typed. All words become text
// nodes, never markup. The page's events read `props.value`; "blur" tells that a field was changed and left.
const root = element.querySelector(".recipe-form");
let stamp = null;
let fields = {};

const make = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== ""));
  return node;
};

const makeBox = (field, value) => {
  const shown = value === null || value === undefined ? "" : value;
  const common = { id: field.id + "-box", "data-key": field.key, "aria-describedby": field.id + "-info" };
  let box;
  if (field.kind === "switch") {
    box = make("input", { ...common, type: "checkbox" });
    box.checked = Boolean(shown);
    return box;
  }
  if (field.kind === "choice") {
    box = make("select", common, ...field.choices.map((word) => make("option", { value: word }, word)));
  } else if (field.kind === "lines" || String(shown).length > 80 || String(shown).includes("\n")) {
    const rows = Math.min(8, Math.max(2, String(shown).split("\n").length));
    const hint = field.kind === "lines" && "one a line";
    box = make("textarea", { ...common, rows, maxlength: 20000, spellcheck: "false", placeholder: hint });
  } else {
    const numeric = field.kind === "whole" || field.kind === "number";
    box = make("input", { ...common, type: "text", maxlength: 20000, spellcheck: "false", autocomplete: "off",
      inputmode: numeric && "decimal" });
  }
  box.value = String(shown);
  return box;
};

const makeField = (field, value, group) => {
  const box = makeBox(field, value);
  const said = make("strong", {});
  const label = make("label", { for: box.id }, field.label);
  const node = make("div", { class: "field is-" + field.kind, id: field.id }, label, box,
    make("p", { id: field.id + "-info" }, said, field.info));
  fields[field.key] = { node, box, said, group, words: [field.key, field.label, field.info].join(" ").toLowerCase() };
  return node;
};

const makeGroup = (group, values) => {
  const node = make("details", { class: "group", open: group.open && "" },
    make("summary", {}, group.title), make("p", { class: "meaning" }, group.meaning));
  node.append(make("div", { class: "grid" }, ...group.fields.map((field) => makeField(field, values[field.key], node))));
  return node;
};

// Only what holds every word that is looked for stays, opened.
const filter = (text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set();
  for (const field of Object.values(fields)) {
    field.node.hidden = !words.every((word) => field.words.includes(word));
    if (!field.node.hidden) found.add(field.group);
  }
  for (const node of root.querySelectorAll(".group")) {
    node.hidden = !found.has(node);
    if (words.length && found.has(node)) node.open = true;
  }
};

const mark = () => {
  const faults = props.value.faults || {};
  for (const [key, field] of Object.entries(fields)) {
    const text = faults[key] || "";
    field.said.textContent = text && "✗ " + text + " ";
    field.node.classList.toggle("fault", Boolean(text));
    field.box.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) field.group.open = true;
  }
};

const typed = () =>
  Object.fromEntries(Object.entries(fields).map(([key, { box }]) => [key, box.type === "checkbox" ? box.checked : box.value]));

const show = () => {
  if (!props.value || !props.groups) return;
  if (props.value.stamp === stamp) {
    // An answer to what stood here a moment ago: people may have typed on meanwhile.
    mark();
    const now = typed();
    // Only then: where another recipe's groups come before its values, what is written here would take their place.
    if (Object.keys(now).some((key) => String(now[key]) !== String(props.value.values[key] ?? "")))
      props.value = { ...props.value, values: now };
    return;
  }
  stamp = props.value.stamp;
  fields = {};
  const find = make("input", { type: "search", class: "find", placeholder: "Find a setting", "aria-label": "Find a setting" });
  find.addEventListener("input", () => filter(find.value));
  const groups = props.groups.map((group) => makeGroup(group, props.value.values));
  root.replaceChildren(find, ...groups);
  root.dataset.kind = props.value.kind;
  mark();
};

root.addEventListener("input", (event) => {
  if (event.target.dataset.key) props.value = { ...props.value, values: typed() };
});
root.addEventListener("change", (event) => {
  if (event.target.dataset.key) trigger("blur");
});
watch(["value", "groups"], show);
show();
