"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const PAGE = 50, KEY = "hh-align: texts shown";
const WORDS = [["harmful", "harmless"], ["not helpful", "helpful"]];
const everyone = data.policies.map((_, policy) => policy);
const fields = at("form").elements;

let shown = [];        // prompts that pass the filters, in order
let page = 0, here = -1;
let judge, seed, rewards, good, spread, searched;

// the root has one seed's lists for all seeds
const of = lists => lists[Math.min(seed, lists.length - 1)];
const response = (policy, prompt) => of(data.responses[policy])[prompt];
// what rounds to zero has no sign
const digits = (number, plus) => {
  const text = Math.abs(number).toFixed(2);
  return (Number(text) === 0 ? "" : number < 0 ? "−" : plus) + text;
};
const signed = number => digits(number, "+");
const plain = number => digits(number, "");

function load() {
  judge = data.judges[fields.judge.value];
  seed = Number(fields.seed.value);
  rewards = everyone.map(policy => of(judge.rewards[policy]));
  // null on an axis that the judge does not speak about
  good = everyone.map(policy => of(judge.labels[policy]));
  spread = data.ids.map((_, prompt) => {
    const own = rewards.map(row => row[prompt]);
    return Math.max(...own) - Math.min(...own);
  });
  searched = null;
}

function changed(policy, against, prompt) {
  if (against === null || against === policy || good[policy][prompt] === good[against][prompt]) return "";
  return good[policy][prompt] ? "gained" : "lost";
}

function filter() {
  const axis = fields.axis.value, label = fields.label.value, change = fields.change.value, empty = fields.empty.checked;
  const low = fields.low.value === "" ? -Infinity : Number(fields.low.value);
  const high = fields.high.value === "" ? Infinity : Number(fields.high.value);
  const chosen = fields.policy.value === "" ? everyone : [Number(fields.policy.value)];
  const against = policy => fields.against.value === "root" ? 0 : data.parents[policy];
  const text = fields.text.value.trim().toLowerCase();
  if (text && !searched) searched = [data.prompts, ...everyone.map(policy => of(data.responses[policy]))].map(column => column.map(said => said.toLowerCase()));
  const fits = (policy, prompt) =>
    (!label || good[policy][prompt] === (label === "good")) &&
    rewards[policy][prompt] >= low && rewards[policy][prompt] <= high &&
    (!empty || response(policy, prompt).trim() === "") &&
    (!change || changed(policy, against(policy), prompt) === change) &&
    (!text || asks || searched[policy + 1][prompt].includes(text));
  let asks = false;      // whether the prompt itself holds the searched text
  shown = [];
  for (let prompt = 0; prompt < data.ids.length; prompt++) {
    if (good[0][prompt] === null || (axis !== "" && data.axes[prompt] !== Number(axis))) continue;
    asks = text !== "" && searched[0][prompt].includes(text);
    if (chosen.some(policy => fits(policy, prompt))) shown.push(prompt);
  }
  const most = prompt => Math.max(...chosen.map(policy => rewards[policy][prompt]));
  const least = prompt => Math.min(...chosen.map(policy => rewards[policy][prompt]));
  const keys = {disagreement: prompt => -spread[prompt], high: prompt => -most(prompt), low: least};
  const key = keys[fields.order.value];
  if (key) shown = shown.map(prompt => [key(prompt), prompt]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(pair => pair[1]);
  at("count").textContent = `${shown.length.toLocaleString("en")} of ${data.ids.length.toLocaleString("en")} prompts`;
}

function add(parent, kind, text, name) {
  const made = document.createElement(kind);
  made.textContent = text;          // data are only ever text
  if (name) made.className = name;
  parent.append(made);
  return made;
}

function snippet(prompt) {
  const text = data.prompts[prompt], start = text.lastIndexOf("Human:");
  return text.slice(start < 0 ? 0 : start + 6).trim().slice(0, 120);
}

function list() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  page = Math.min(page, pages - 1);
  const items = document.createDocumentFragment();
  for (const prompt of shown.slice(page * PAGE, (page + 1) * PAGE)) {
    const link = add(add(items, "li", ""), "a", "");
    link.href = "#" + encodeURIComponent(data.ids[prompt]);
    if (prompt === here) link.setAttribute("aria-current", "true");
    add(link, "span", data.ids[prompt], "id");
    const marks = add(link, "span", "", "marks");
    const names = everyone.filter(policy => good[policy][prompt]).map(policy => data.policies[policy]);
    marks.setAttribute("role", "img");
    marks.setAttribute("aria-label", "good: " + (names.join(", ") || "none"));
    marks.title = marks.getAttribute("aria-label");
    for (const policy of everyone) add(marks, "span", good[policy][prompt] ? "✓" : "✗", good[policy][prompt] ? "good" : "bad");
    add(link, "span", snippet(prompt), "snippet");
  }
  if (!shown.length) add(add(items, "li", ""), "a", "No prompt passes these filters.");
  at("items").replaceChildren(items);
  at("page").textContent = `page ${page + 1} of ${pages}`;
  at("earlier").disabled = page === 0;
  at("later").disabled = page >= pages - 1;
}

function card(policy, prompt) {
  const box = document.createElement("section");
  box.className = `card tint-${policy}${fields.policy.value === String(policy) ? " chosen" : ""}`;
  add(box, "h3", data.policies[policy]);
  const well = good[policy][prompt];
  const reward = add(box, "p", "", "reward");
  if (well === null) add(reward, "span", `not judged by ${judge.name}`);
  else {
    add(reward, "span", plain(rewards[policy][prompt]));
    add(reward, "span", `${well ? "✓" : "✗"} ${WORDS[data.axes[prompt]][Number(well)]}`, `chip ${well ? "good" : "bad"}`);
  }
  const said = response(policy, prompt);
  const text = add(box, "pre", said.trim() ? said : "no text", said.trim() ? "text" : "text empty");
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", `Response of ${data.policies[policy]}`);
  const facts = add(box, "dl", "");
  const fact = (name, what, value) => {
    const line = add(facts, "div", "");
    add(line, "dt", name);
    add(line, "dd", what, "what");
    add(line, "dd", value);
  };
  const tokens = of(data.tokens[policy])[prompt], finish = of(data.finish[policy])[prompt];
  fact("tokens", finish ? `ended by ${finish}` : "", tokens === null ? "unknown" : tokens);
  for (const other of new Set([0, data.parents[policy]]))
    if (other !== null && other !== policy && well !== null)
      fact(`vs ${data.policies[other]}`, changed(policy, other, prompt) || "same", signed(rewards[policy][prompt] - rewards[other][prompt]));
  return box;
}

// the prompt that the address names; one that is no address names itself
function asked() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return location.hash.slice(1); }
}

function show() {
  const index = shown.indexOf(here);
  document.body.classList.toggle("reading", here >= 0);
  at("previous").disabled = shown.length === 0 || index === 0;
  at("next").disabled = shown.length === 0 || index === shown.length - 1;
  at("text").hidden = at("cards").hidden = here < 0;
  if (here < 0) {
    at("title").textContent = asked() ? `There is no prompt ${asked()}.` : "Choose a prompt.";
    return;
  }
  const where = index < 0 ? "not among the filtered prompts" : `${(index + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
  at("title").textContent = data.ids[here];
  add(at("title"), "span", ` · ${where} · spread ${spread[here].toFixed(2)}`, "soft");
  at("text").textContent = data.prompts[here];
  at("text").scrollTop = 0;
  at("cards").replaceChildren(...everyone.map(policy => card(policy, here)));
}

function follow() {
  here = data.ids.indexOf(asked());
  if (!asked() && shown.length && !narrow.matches) here = shown[0];
  const index = shown.indexOf(here);
  if (index >= 0) page = Math.floor(index / PAGE);
  list();
  show();
  at("items").querySelector("[aria-current]")?.scrollIntoView({block: "nearest"});
}

function go(step) {
  const index = shown.indexOf(here);
  const target = shown[index < 0 ? 0 : index + step];
  if (target !== undefined) location.hash = encodeURIComponent(data.ids[target]);
}

function refresh(event) {
  if (!event || ["judge", "seed"].includes(event.target.name)) load();
  page = 0;
  filter();
  follow();
}

const narrow = matchMedia("(max-width: 52rem)");
at("filters").open = !narrow.matches;
at("form").oninput = refresh;
at("form").onsubmit = event => event.preventDefault();
at("form").onreset = () => setTimeout(refresh);
at("earlier").onclick = () => { page -= 1; list(); };
at("later").onclick = () => { page += 1; list(); };
at("previous").onclick = () => go(-1);
at("next").onclick = () => go(1);
at("full").onchange = () => document.body.classList.toggle("full", at("full").checked);
window.onhashchange = follow;

document.onkeydown = event => {
  if (at("app").hidden || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  if (event.key === "j" || event.key === "ArrowRight") go(1);
  if (event.key === "k" || event.key === "ArrowLeft") go(-1);
  if (event.key === "/") { event.preventDefault(); at("filters").open = true; fields.text.focus(); }
};

function open() {
  at("notice").hidden = true;
  at("app").hidden = false;
  refresh();
}

let before = null;     // a browser may refuse to remember
try { before = localStorage.getItem(KEY); } catch {}
at("notice").hidden = false;
at("open").onclick = () => {
  try { localStorage.setItem(KEY, "yes"); } catch {}
  open();
};
if (before) open();
