// The browser of questions. Data come from the page's own JSON blocks, each parsed when
// it is needed; every text of a model or a file is set as text and never as HTML.
"use strict";
(() => {
  const PER_PAGE = 50;
  const SEARCH_AFTER = 120; // ms without a key
  const MARKS = {
    right: ["✓", "right"], wrong: ["✗", "wrong"], "cut off": ["…", "wrong"],
    refused: ["∅", "wrong"], "prompt too long": ["∅", "wrong"],
    unfinished: ["–", ""], undecided: ["?", ""],
  };
  const HOPED = new Map([[true, "good"], [false, "bad"], [null, ""]]);
  const DIFFERS = { said: "ins", held: "del" };

  const find = (id) => document.getElementById(id);
  const [browser, list, card, search, help] = ["browser", "list", "card", "search", "help"].map(find);
  const parsed = new Map();

  // A block's content; undefined while the page is loading and has not come to it.
  function block(id) {
    const element = parsed.has(id) ? null : find(id);
    if (element) parsed.set(id, JSON.parse(element.textContent));
    return parsed.get(id);
  }

  const { filters, rows, words, perBlock } = block("index");
  const entry = (name, number) => block(`${name}-${Math.floor(number / perBlock)}`)?.[number % perBlock];
  const numbers = rows.map((_, number) => number);
  const byKey = new Map(rows.map((row, number) => [row.key, number]));
  const chosen = filters.map(() => -1); // of each filter a word's number; -1 for any
  let found = numbers; // that pass the search and all filters
  let current = -1; // whose card is shown
  let page = 0; // of the list
  let haystacks = null; // what is searched, made when it is first needed

  // An element with a class and children, which are elements or texts.
  function make(tag, name, ...children) {
    const element = document.createElement(tag);
    element.className = name;
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  function picture(number, alt) {
    const [src, width, height, pixelated] = entry("pictures", number) ?? [];
    return src ? Object.assign(make("img", pixelated ? "pixelated" : ""), { src, width, height, alt }) : "";
  }

  // --- search and filters ---

  // All that is written of a question, in small letters.
  function haystack(number) {
    const { question, answer, truth, texts = [], notes = [], branches = [] } = entry("questions", number) ?? {};
    const labels = rows[number].labels.map((label) => words[label]);
    const said = branches.map((branch) => branch.text);
    return [rows[number].key, question, answer, truth, ...labels, ...said, ...texts, ...notes].join("\n").toLowerCase();
  }

  function searcher() {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!terms.length) return () => true;
    haystacks ??= numbers.map(haystack);
    return (number) => terms.every((term) => haystacks[number].includes(term));
  }

  // Find the rows that pass; and of each filter, how many there would be with each label.
  function refresh() {
    const counts = filters.map(() => new Map());
    const holds = searcher();
    found = numbers.filter((number) => {
      const { labels } = rows[number];
      const against = [...filters.keys()].filter((place) => chosen[place] >= 0 && labels[place] !== chosen[place]);
      if (against.length > 1 || !holds(number)) return false;
      for (const place of against.length ? against : filters.keys())
        counts[place].set(labels[place], (counts[place].get(labels[place]) ?? 0) + 1);
      return !against.length;
    });
    find("filters").replaceChildren(...counts.map(selector));
    page = Math.max(0, Math.floor(found.indexOf(current) / PER_PAGE));
    showList();
    if (found.length && !found.includes(current)) open(found[0]);
  }

  function selector(counts, place) {
    if (chosen[place] >= 0 && !counts.has(chosen[place])) counts.set(chosen[place], 0);
    const labels = [...counts.keys()].filter((label) => label >= 0);
    labels.sort((a, b) => words[a].localeCompare(words[b], "en", { numeric: true }));
    const options = labels.map((label) => new Option(`${words[label]} (${counts.get(label).toLocaleString("en")})`, label));
    const select = make("select", "", new Option("any", -1), ...options);
    select.value = chosen[place];
    select.addEventListener("change", () => {
      chosen[place] = Number(select.value);
      refresh();
      find("filters").children[place].lastChild.focus();
    });
    const label = make("label", chosen[place] >= 0 ? "chosen" : "", make("span", "", filters[place]), select);
    label.hidden = labels.length < 2 && chosen[place] < 0;
    return label;
  }

  // --- the list ---

  function showList() {
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    list.replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(listRow));
    const [some, all] = [found.length.toLocaleString("en"), rows.length.toLocaleString("en")];
    find("found").textContent = some === all ? `${all} questions` : `${some} of ${all} questions`;
    find("page").textContent = `${page + 1} / ${pages}`;
    find("earlier").disabled = page === 0;
    find("later").disabled = page === pages - 1;
    find("pager").hidden = pages === 1;
    find("clear").hidden = !search.value && chosen.every((label) => label < 0);
    markCurrent();
  }

  function listRow(number) {
    const { key, title, pictures, good, status } = rows[number];
    const thumbnail = (pictures.length && picture(pictures[0], "")) || make("i", "");
    const under = make("span", "status", make("b", HOPED.get(good), words[status]), make("span", "name", key));
    const button = make("button", "row", thumbnail, make("span", "title", title || key), under);
    button.type = "button";
    button.dataset.number = number;
    button.addEventListener("click", () => open(number, true));
    return make("li", "", button);
  }

  function markCurrent() {
    for (const button of list.querySelectorAll("button"))
      button.ariaCurrent = Number(button.dataset.number) === current ? "true" : null;
    const row = list.querySelector("[aria-current]");
    if (!row) return; // else it is brought into the list's view; the page stays
    const [{ top, bottom }, view] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
    list.scrollTop += Math.min(0, top - view.top) || Math.max(0, bottom - view.bottom);
  }

  // --- one question ---

  const address = (number) => `#q/${encodeURIComponent(rows[number].key)}`;

  // Show a question; `read` where the reader asked for it.
  function open(number, read = false) {
    current = number;
    const content = entry("questions", number);
    card.replaceChildren(...(content ? cardParts(number, content) : ["Loading …"]));
    const place = found.indexOf(number);
    find("previous").disabled = place <= 0;
    find("next").disabled = place === found.length - 1;
    if (place >= 0 && Math.floor(place / PER_PAGE) !== page) {
      page = Math.floor(place / PER_PAGE);
      showList();
    } else markCurrent();
    if (!read) return;
    browser.classList.add("reading");
    history.replaceState(null, "", address(number));
    if (card.getBoundingClientRect().top < 0) find("panes").scrollIntoView();
  }

  function cardParts(number, content) {
    const { branches } = content;
    const { good, status } = rows[number];
    const badge = make("span", `badge ${HOPED.get(good)}`, words[status]);
    const kept = branches.some((branch) => branch.leaves.some((leaf) => leaf[4]));
    const parts = branches.map((branch, place) => branchPart(branch, content, !kept && place === 0));
    if (!parts.length) parts.push(make("p", "absent", "Its captions are not there."));
    if (branches.some(({ differences }) => differences?.some(([kind]) => kind !== "same")))
      parts.push(make("p", "note legend", make("ins", "", "said"), " is not in the picture; ",
        make("del", "", "held"), " is in it, and not said."));
    const said = content.words === words[status] ? "" : content.words;
    return [askedPart(number, content), make("p", "verdict", badge, said), ...parts];
  }

  function askedPart(number, { question, answer, truth, pictures: wanted }) {
    const { key, pictures, labels } = rows[number];
    const named = (name, place) => (["kind", "level"].includes(name) && words[labels[place]] ? `${words[labels[place]]} · ` : "");
    const link = Object.assign(make("a", "name", key), { href: address(number) });
    const shown = pictures.map((each) => picture(each, `The picture that is asked about: ${question}`));
    const told = make("div", "", make("p", "tag", filters.map(named).join(""), link),
      make("p", "question", question || "The question file is not there: only what was written about it can be shown."),
      answer === null ? "" : make("p", "", "Right answer: ", make("strong", "", answer)),
      truth === null ? "" : make("p", "truth", "The picture holds: ", make("strong", "", truth)),
      shown.length < wanted ? make("p", "absent", "A picture of it is not there, or not in this page.") : "");
    return make("div", "asked", shown.length ? make("div", "shown", ...shown) : "", told);
  }

  // A caption with its reasonings, or a model with its answers.
  function branchPart({ title, text, note, reward, passes, differences, leaves }, { texts, notes }, first) {
    const strip = leaves.length > 1 ? leaves.map((leaf) => symbol(notes[leaf[0]], leaf[4])) : [];
    const agrees = differences?.every(([kind]) => kind === "same");
    const said = differences?.map(([kind, piece]) => (kind === "same" ? piece : make(DIFFERS[kind], "", piece)));
    const summary = make("summary", "", make("b", "", title), make("span", "marks", ...strip),
      reward ? rewardPart(reward, passes) : "", make("small", "", notes[note]),
      agrees ? make("small", "agrees", "names what the picture holds") : "",
      text === null ? "" : make("span", "caption", ...(said ?? [text])));
    const tree = make("ol", "leaves", ...leaves.map((leaf, place) => leafPart(leaf, texts, notes, place, leaves.length)));
    const part = make("details", passes ? "branch passes" : "branch", summary, tree);
    part.open = first || leaves.length < 3 || leaves.some((leaf) => leaf[4]);
    return part;
  }

  function rewardPart(bounds, passes) {
    const [least, most] = bounds.map((bound) => `${Number(bound.toFixed(3))}`);
    const bar = make("i", passes === false ? "" : "pass");
    bar.style.width = `${100 * bounds[0]}%`;
    return make("span", "reward", `reward ${least}${least === most ? "" : `–${most}`}`, make("span", "bar", bar));
  }

  function symbol(outcome, kept) {
    const [sign, name] = MARKS[outcome] ?? ["", ""];
    const title = kept ? `${outcome}, kept` : outcome;
    return Object.assign(make("span", `mark ${name} ${kept ? "kept" : ""}`, sign), { title });
  }

  function leafPart([outcome, tokens, note, text, kept], texts, notes, place, of) {
    if (!notes[note]) return make("li", "", make("pre", "", texts[text]));
    const summary = make("summary", "", symbol(notes[outcome], kept),
      make("span", "number", of > 1 ? `${place + 1}` : ""),
      make("span", kept ? "badge good" : "fate", notes[note]),
      make("span", "tokens", tokens === null ? "" : `${tokens.toLocaleString("en")} tokens`));
    const part = make("details", "", summary, make("pre", "", texts[text]));
    part.open = Boolean(kept) || of === 1;
    return make("li", "", part);
  }

  // --- keys, buttons, addresses ---

  function step(by) {
    const place = found.indexOf(current);
    const next = found[place < 0 ? 0 : place + by];
    if (next !== undefined) open(next, true);
  }

  const turn = (by) => { page += by; showList(); list.scrollTop = 0; };
  const leave = () => browser.classList.remove("reading");
  const clear = () => { search.value = ""; chosen.fill(-1); refresh(); };
  const [next, previous, keys] = [() => step(1), () => step(-1), () => help.showModal()];
  const KEYS = { j: next, k: previous, "/": () => search.focus(), "?": keys, Escape: leave };
  const ARROWS = { ArrowRight: next, ArrowLeft: previous };
  const IN_LIST = { ArrowDown: next, ArrowUp: previous };
  const BUTTONS = { previous, next, keys, clear, back: leave, close: () => help.close(),
    earlier: () => turn(-1), later: () => turn(1) };

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (target.matches("input:not([type=radio]), select")) {
      if (key === "Escape") target.blur();
      return;
    }
    const inList = list.contains(target);
    const near = target === document.body || browser.contains(target);
    const action = KEYS[key] ?? (near && ARROWS[key]) ?? (inList && IN_LIST[key]);
    if (!action) return;
    action();
    event.preventDefault();
    if (inList) list.querySelector("[aria-current]")?.focus();
  });

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, SEARCH_AFTER);
  });
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, action] of Object.entries(BUTTONS)) find(id).addEventListener("click", action);

  // The question that the page's address names, if it is there.
  function named() {
    if (!location.hash.startsWith("#q/")) return undefined;
    try { return byKey.get(decodeURIComponent(location.hash.slice(3))); } catch { return undefined; }
  }

  function follow() {
    if (named() === undefined) return;
    open(named(), true);
    find("questions").scrollIntoView();
  }

  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  // What had not been loaded when the first question was shown, or something was searched.
  document.addEventListener("DOMContentLoaded", () => {
    haystacks = null;
    refresh();
    open(current);
    if (named() === current) follow();
  });
  browser.hidden = false;
  refresh();
  follow();
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("card painted")));
})();
