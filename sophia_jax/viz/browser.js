// The browser of questions. Data come from the page's own JSON blocks, parsed when they
// are needed; every text of a model or a file is set as text and never as HTML.
"use strict";
(() => {
  const PER_PAGE = 50;
  const MARKS = { right: "✓", wrong: "✗", "cut off": "…", unfinished: "–", undecided: "?",
                  refused: "∅", "prompt too long": "∅" };
  const GOOD = new Map([[true, "good"], [false, "bad"], [null, ""]]);

  const find = (id) => document.getElementById(id);
  const parsed = new Map();

  // A block's content; null while the page is still being loaded and has not come to it.
  function block(id) {
    if (!parsed.has(id)) {
      const element = find(id);
      if (!element) return null;
      parsed.set(id, JSON.parse(element.textContent));
    }
    return parsed.get(id);
  }

  const { filters, rows, words, perBlock } = block("index");
  const entry = (name, number) => block(`${name}-${Math.floor(number / perBlock)}`)?.[number % perBlock];
  const [browser, list, card, search, help] = ["browser", "list", "card", "search", "help"].map(find);
  const byKey = new Map(rows.map((row, number) => [row.key, number]));
  const chosen = filters.map(() => -1);  // of each filter a word's number; -1 for any
  let found = rows.map((_, number) => number);
  let current = -1;  // number of the row whose card is shown
  let page = 0;

  // An element with a class and children, which are elements or texts.
  function make(tag, name, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  function picture(number, alt) {
    const content = entry("pictures", number);
    if (!content) return "";
    const [uri, width, height, pixelated] = content;
    const image = make("img", pixelated ? "pixelated" : "");
    Object.assign(image, { src: uri, width, height, alt });
    return image;
  }

  // --- search and filters ---

  let haystacks = null;

  // All that is written of a question, in small letters.
  function haystack(number) {
    const { question, answer, truth, texts, branches } = entry("questions", number) ?? { texts: [], branches: [] };
    const said = branches.map((branch) => branch.text);
    const labels = rows[number].labels.filter((label) => label >= 0).map((label) => words[label]);
    return [rows[number].key, question, answer, truth, ...labels, ...said, ...texts].join("\n").toLowerCase();
  }

  function searcher() {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!terms.length) return () => true;
    haystacks ??= rows.map((_, number) => haystack(number));
    return (number) => terms.every((term) => haystacks[number].includes(term));
  }

  // The rows that pass; and of each filter, how many there would be with each label.
  function refresh() {
    const counts = filters.map(() => new Map());
    const holds = searcher();
    found = rows.map((_, number) => number).filter((number) => {
      const { labels } = rows[number];
      const against = filters.map((_, place) => place)
        .filter((place) => chosen[place] >= 0 && labels[place] !== chosen[place]);
      if (against.length > 1 || !holds(number)) return false;
      for (const place of against.length ? against : filters.keys())
        if (labels[place] >= 0) counts[place].set(labels[place], (counts[place].get(labels[place]) ?? 0) + 1);
      return !against.length;
    });
    find("filters").replaceChildren(...filters.map((_, place) => selector(place, counts[place])));
    page = Math.max(0, Math.floor(found.indexOf(current) / PER_PAGE));
    showList();
    if (found.length && !found.includes(current)) open(found[0]);
  }

  function selector(place, counts) {
    const select = make("select", "", new Option("any", -1));
    const labels = [...counts.keys()].sort((a, b) => words[a].localeCompare(words[b], "en", { numeric: true }));
    for (const label of labels)
      select.add(new Option(`${words[label]} (${counts.get(label).toLocaleString("en")})`, label));
    if (chosen[place] >= 0 && !counts.has(chosen[place])) select.add(new Option(`${words[chosen[place]]} (0)`, chosen[place]));
    select.value = chosen[place];
    select.addEventListener("change", () => {
      chosen[place] = Number(select.value);
      refresh();
      find("filters").children[place].querySelector("select").focus();
    });
    const label = make("label", chosen[place] >= 0 ? "chosen" : "", make("span", "", filters[place]), select);
    label.hidden = labels.length < 2 && chosen[place] < 0;
    return label;
  }

  // --- the list ---

  function showList() {
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    list.replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(listRow));
    const total = rows.length.toLocaleString("en");
    find("found").textContent = found.length === rows.length
      ? `${total} questions` : `${found.length.toLocaleString("en")} of ${total} questions`;
    find("page").textContent = `${page + 1} / ${pages}`;
    find("earlier").disabled = page === 0;
    find("later").disabled = page === pages - 1;
    find("pager").hidden = pages === 1;
    find("clear").hidden = !search.value && chosen.every((label) => label < 0);
    mark();
  }

  function listRow(number) {
    const { key, title, pictures, good, status } = rows[number];
    const thumbnail = pictures.length ? picture(pictures[0], "") || make("i") : make("i");
    const button = make("button", "row", thumbnail,
      make("span", "title", title || key),
      make("span", "status", make("b", GOOD.get(good), words[status]), make("span", "name", key)));
    button.type = "button";
    button.dataset.number = number;
    button.addEventListener("click", () => open(number, true));
    return make("li", "", button);
  }

  function mark() {
    for (const button of list.querySelectorAll("button"))
      button.toggleAttribute("aria-current", Number(button.dataset.number) === current);
    const row = list.querySelector("[aria-current]");
    if (!row) return;  // else it is brought into the list's view; the page stays
    const [{ top, bottom }, view] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
    list.scrollTop += Math.min(0, top - view.top) || Math.max(0, bottom - view.bottom);
  }

  // --- one question ---

  function open(number, read = false) {
    current = number;
    const content = entry("questions", number);
    card.replaceChildren(...(content ? cardParts(number, content) : [make("p", "absent", "Loading …")]));
    const place = found.indexOf(number);
    if (place >= 0 && Math.floor(place / PER_PAGE) !== page) {
      page = Math.floor(place / PER_PAGE);
      showList();
    } else mark();
    find("previous").disabled = place <= 0;
    find("next").disabled = place === found.length - 1;
    if (!read) return;
    browser.classList.add("reading");
    history.replaceState(null, "", address(number));
    if (card.getBoundingClientRect().top < 0) find("panes").scrollIntoView();
  }

  const address = (number) => `#q/${encodeURIComponent(rows[number].key)}`;

  function cardParts(number, { question, answer, words: said, truth, lost, branches, texts }) {
    const { key, pictures, good, status, labels } = rows[number];
    const link = make("a", "name", key);
    link.href = address(number);
    const kinds = labels.filter((label, place) => label >= 0 && ["kind", "level"].includes(filters[place]));
    const shown = pictures.map((each) => picture(each, `The picture that is asked about: ${question}`));
    const head = make("div", "asked",
      shown.length ? make("div", "shown", ...shown) : "",
      make("div", "",
        make("p", "tag", kinds.map((label) => `${words[label]} · `).join(""), link),
        make("p", "question", question || "The question file is not there: only what was written about it can be shown."),
        answer === null ? "" : make("p", "", "Right answer: ", make("strong", "", answer)),
        truth === null ? "" : make("p", "truth", "The picture holds: ", make("strong", "", truth)),
        shown.length < pictures.length + lost ? make("p", "absent", "A picture file is not there.") : ""));
    const kept = branches.some((branch) => branch.leaves.some((leaf) => leaf[4]));
    const differ = branches.some(({ differences }) => differences?.some(([kind]) => kind !== "same"));
    return [head,
      make("p", "verdict", make("span", `badge ${GOOD.get(good)}`, words[status]), said === words[status] ? "" : said),
      ...branches.map((branch, place) => branchPart(branch, texts, !kept && place === 0)),
      branches.length ? "" : make("p", "absent", "Its captions are not there."),
      differ ? make("p", "note legend", make("ins", "", "said"), " is not in the picture; ", make("del", "", "held"), " is in it, and not said.") : "",
    ].filter(Boolean);
  }

  function branchPart({ title, text, note, reward, passes, differences, leaves }, texts, first) {
    const agree = differences?.every(([kind]) => kind === "same");
    const strip = make("span", "marks", ...leaves.map(([outcome, , , , kept]) => symbol(words[outcome], kept)));
    const summary = make("summary", "", make("b", "", title), leaves.length > 1 ? strip : "",
      reward ? rewardPart(reward, passes) : "", words[note] ? make("small", "", words[note]) : "",
      agree ? make("small", "agrees", "names what the picture holds") : "",
      text === null ? "" : make("span", "caption", ...captionParts(text, differences)));
    const each = make("ol", "leaves", ...leaves.map((leaf, place) => leafPart(leaf, texts, place, leaves.length)));
    const part = make("details", passes === null ? "branch" : passes ? "branch passes" : "branch fails", summary, each);
    part.open = first || leaves.length < 3 || leaves.some((leaf) => leaf[4]);
    return part;
  }

  function captionParts(text, differences) {
    const tags = { said: "ins", held: "del" };
    return differences ? differences.map(([kind, piece]) => tags[kind] ? make(tags[kind], "", piece) : piece) : [text];
  }

  function rewardPart([least, most], passes) {
    const bar = make("i", passes === false ? "" : "pass");
    bar.style.width = `${100 * least}%`;
    const number = least === most ? `${+least.toFixed(3)}` : `${+least.toFixed(3)}–${+most.toFixed(3)}`;
    return make("span", "reward", `reward ${number}`, make("span", "bar", bar));
  }

  function symbol(outcome, kept) {
    const kind = outcome === "right" ? "right" : MARKS[outcome] && outcome !== "undecided" && outcome !== "unfinished" ? "wrong" : "undecided";
    const element = make("span", `mark ${kind}${kept ? " kept" : ""}`, MARKS[outcome] ?? "");
    element.title = kept ? `${outcome}, kept` : outcome;
    return element;
  }

  function leafPart([outcome, tokens, note, text, kept], texts, place, of) {
    const length = tokens === null ? "" : `${tokens.toLocaleString("en")} tokens`;
    const summary = make("summary", "", symbol(words[outcome], kept), make("span", "number", of > 1 ? `${place + 1}` : ""),
      make("span", kept ? "badge good" : "fate", words[note]), make("span", "tokens", length));
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

  function clear() {
    search.value = "";
    chosen.fill(-1);
    refresh();
  }

  const KEYS = {
    j: () => step(1), ArrowRight: () => step(1), k: () => step(-1), ArrowLeft: () => step(-1),
    "/": () => search.focus(), "?": () => help.showModal(), Escape: () => browser.classList.remove("reading"),
  };

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (target.matches("input, select, textarea")) {
      if (key === "Escape") target.blur();
      return;
    }
    const arrows = { ArrowDown: 1, ArrowUp: -1 };
    if (list.contains(target) && arrows[key]) step(arrows[key]);
    else if (KEYS[key] && (target === document.body || browser.contains(target) || !key.startsWith("Arrow"))) KEYS[key]();
    else return;
    event.preventDefault();
    if (list.contains(target)) list.querySelector("[aria-current]")?.focus();
  });

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  });
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  const turn = (by) => { page += by; showList(); list.scrollTop = 0; };
  const buttons = { earlier: () => turn(-1), later: () => turn(1), clear, previous: KEYS.k, next: KEYS.j,
                    back: KEYS.Escape, keys: KEYS["?"], close: () => help.close() };
  for (const [id, action] of Object.entries(buttons)) find(id).addEventListener("click", action);

  function follow() {
    if (!location.hash.startsWith("#q/")) return false;
    let key = location.hash.slice(3);
    try { key = decodeURIComponent(key); } catch { return false; }
    if (!byKey.has(key)) return false;
    open(byKey.get(key), true);
    find("questions").scrollIntoView();
    return true;
  }

  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  browser.hidden = false;
  refresh();
  follow();
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("card painted")));
  // What had not been loaded when the first card was shown.
  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", () => { haystacks = null; const now = current; refresh(); open(now); follow(); });
})();
