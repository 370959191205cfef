// What stands on the panel, as a person sees it: texts, computed colours, glyphs, places. Nothing of its state is read.
() => {
  const panel = document.querySelector(".aa");
  if (!panel) return null;
  const probe = (name) => {
    const element = document.createElement("i");
    element.style.color = `var(--${name})`;
    panel.append(element);
    const { color } = getComputedStyle(element);
    element.remove();
    return color;
  };
  const [up, down] = [probe("up"), probe("down")];
  const toneOf = (colour) => (colour === up ? "up" : colour === down ? "down" : "");
  const seen = (element) =>
    element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
  const all = (selector, root = panel) => [...root.querySelectorAll(selector)].filter(seen);
  const one = (selector, root = panel) => all(selector, root)[0] ?? null;
  const texts = new Map();
  const textOf = (element) => {
    if (!element) return "";
    if (!texts.has(element)) texts.set(element, (element.innerText ?? element.textContent).replace(/\s+/g, " ").trim());
    return texts.get(element);
  };
  const tone = (element) => (element ? toneOf(getComputedStyle(element).color) : "");

  // Which way a filled triangle points: its flat side is the one with more of its outline.
  const ways = (globalThis.__ways ??= new Map());
  const wayOf = (path) => {
    const d = path.getAttribute("d");
    if (!ways.has(d)) {
      const { y, height } = path.getBBox();
      const length = path.getTotalLength();
      let [top, bottom] = [0, 0];
      for (let i = 0; i < 60; i += 1) {
        const point = path.getPointAtLength((length * i) / 60);
        if (point.y < y + height * 0.05) top += 1;
        if (point.y > y + height * 0.95) bottom += 1;
      }
      ways.set(d, top > bottom ? "down" : "up");
    }
    return ways.get(d);
  };
  const arrowOf = (element) => {
    const path = element.querySelector(":scope > svg path");
    if (path && seen(path.closest("svg"))) return wayOf(path);
    const text = textOf(element);
    return text.includes("▲") ? "up" : text.includes("▼") ? "down" : "";
  };
  const figure = (element) =>
    element && {
      text: textOf(element),
      tone: tone(element),
      arrow: arrowOf(element),
      arrowTone: element.querySelector(":scope > svg path")
        ? toneOf(getComputedStyle(element.querySelector(":scope > svg path")).fill)
        : "",
    };

  // The text itself, which may be wider than the element that cuts it off.
  const extent = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect();
  };
  const cut = (element, row) => {
    const text = extent(element);
    const outer = row.getBoundingClientRect();
    let right = Math.min(outer.right, innerWidth);
    for (let box = element; box && box !== row; box = box.parentElement)
      if (getComputedStyle(box).overflowX !== "visible") right = Math.min(right, box.getBoundingClientRect().right);
    return text.width === 0 || text.right > right + 1 || text.left < outer.left - 1;
  };
  const crowded = (cells) => {
    const boxes = cells.map((cell) => [textOf(cell) || cell.className, extent(cell), cell.getBoundingClientRect()]);
    const pairs = [];
    for (let i = 1; i < boxes.length; i += 1) {
      const [[before, , a], [after, text, b]] = [boxes[i - 1], boxes[i]];
      const start = text.width > 0 ? text : b;
      if (start.left < a.left + 1 || b.width === 0) continue;
      const ends = Math.min(extent(cells[i - 1]).right || a.right, a.right);
      if (ends > start.left + 1 && a.bottom > b.top + 2 && b.bottom > a.top + 2) pairs.push(`${before} | ${after}`);
    }
    return pairs;
  };

  const rowOf = (article) => {
    const change = one(".chg", article);
    const time = one("time", article);
    const name = one(".sym b", article);
    const spark = all("svg", article).find((svg) => svg.querySelector("path[stroke]") && svg.clientWidth > 30);
    const lines = spark ? [...spark.querySelectorAll("path")].map((path) => getComputedStyle(path).stroke) : [];
    const must = { symbol: name, change, age: time, window: change && one(".win", change) };
    return {
      key: article.dataset.key,
      symbol: article.dataset.symbol ?? "",
      venue: article.dataset.venue ?? "",
      method: article.dataset.method ?? "",
      name: textOf(name),
      severity: article.dataset.severity ?? "",
      rarity: article.dataset.rarity ?? null,
      once: textOf(one(".ra", article)),
      closed: article.classList.contains("closed"),
      nested: article.closest(".slot.in") !== null,
      pinned: article.closest(".pinned") !== null,
      top: article.getBoundingClientRect().top,
      change: figure(change),
      window: textOf(must.window),
      line: lines.map(toneOf).filter(Boolean),
      lines: lines.length,
      age: textOf(time),
      time: time?.title ?? "",
      label: article.getAttribute("aria-label") ?? "",
      cut: Object.entries(must)
        .filter(([, element]) => element && cut(element, article))
        .map(([what]) => what),
      crowded: article.classList.contains("card") ? [] : crowded([...article.children].filter(seen)),
    };
  };
  const incidentOf = (article) => {
    const ring = [...article.querySelectorAll("svg circle, svg path")].map((shape) => getComputedStyle(shape).stroke);
    return {
      text: textOf(article),
      title: textOf(one("b", article)),
      top: article.getBoundingClientRect().top,
      closed: article.classList.contains("closed"),
      severity: /(?:^| )r-(\w+)/.exec(article.className)?.[1] ?? "",
      change: figure(one("[data-move]", article)),
      rings: ring.map(toneOf).filter(Boolean),
    };
  };

  const nowline = one(".nowline");
  const strip = one("button.strip");
  const breadth = one(".breadth");
  const part = (selector) => {
    const element = breadth && one(selector, breadth);
    return element && { grow: Number(element.style.flexGrow), tone: toneOf(getComputedStyle(element).backgroundColor) };
  };

  // A statement is what has one window and one time: a row, a sentence, a button, else the card.
  const STATEMENT = "article, .wins button, .majors, .nowline > span, .say, .since, .strip, .mrow, li, .morerow, .legend, .mc, .source";
  const statementOf = (element) => element.closest(STATEMENT) ?? element;
  const [changes, coloured, clocks, bad, beyond] = [[], [], [], [], []];
  // What a text belongs into: its row, its card, its button, else the panel.
  const edgeOf = (element) => (element.closest("article, .mc, .summary, button, .strip") ?? panel).getBoundingClientRect().right;
  // Cut off with an ellipsis, where a title has the whole of it.
  const shortened = (element) => {
    for (let box = element; box && box !== panel; box = box.parentElement)
      if (getComputedStyle(box).textOverflow === "ellipsis") return true;
    return false;
  };
  const BAD = /\bNaN\b|\bInfinity\b|\bundefined\b|\bnull\b/;
  const where = (element) => (element.closest("section.mc")?.querySelector("h2")?.innerText ?? element.className?.baseVal ?? element.className ?? element.tagName);
  const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.replace(/\s+/g, " ").trim();
    const parent = walker.currentNode.parentElement;
    if (!text || !seen(parent)) continue;
    if (BAD.test(text)) bad.push(`${text} (${where(parent)})`);
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const { right, width: wide } = range.getBoundingClientRect();
    if (wide > 1 && right > Math.min(edgeOf(parent), innerWidth) + 1 && !parent.closest(".vh") && !shortened(parent)) beyond.push(text);
    const colour = toneOf(getComputedStyle(parent).color);
    const statement = statementOf(parent);
    const entry = () => ({
      text,
      parent: textOf(parent),
      statement: textOf(statement),
      kind: statement.classList.contains("mc") ? `card ${textOf(statement.querySelector("h2"))}` : statement.className || statement.tagName,
    });
    if (colour) coloured.push({ ...entry(), tone: colour });
    if (/[+−-]\d[\d,.]*\s?%|\bpp\b/.test(text)) changes.push(entry());
    if (/\b\d\d:\d\d\b/.test(text)) clocks.push(entry());
  }
  for (const element of panel.querySelectorAll("svg, svg *"))
    for (const { name, value } of element.attributes)
      if (BAD.test(value) || /NaN|Infinity/.test(value)) bad.push(`${element.tagName} ${name}="${value.slice(0, 80)}" (${where(element)})`);
  for (const element of panel.querySelectorAll("[title], [aria-label]"))
    for (const name of ["title", "aria-label"])
      if (BAD.test(element.getAttribute(name) ?? "")) bad.push(`${name}="${element.getAttribute(name)}"`);

  const sayings = all("p.say").filter((say) => say.closest(".summary"));
  const gauge = one(".gauge svg");
  const header = one("header");
  return {
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - innerWidth,
    source: textOf(one("[aria-label='Source of the prices']")),
    rows: all("article[data-key]").map(rowOf),
    incidents: all("article.inc-hd").map(incidentOf),
    strip: strip && {
      text: textOf(strip),
      change: figure(one(".chg", strip)),
      window: textOf(one(".figs .t3:last-child", strip)),
      breadth: textOf(one(".figs .t2", strip)),
      index: textOf(one(".idx", strip)),
      lead: textOf(one("b.nw", strip)),
      leadTone: tone(one("b.nw", strip)),
      cut: [".figs .chg", ".figs .t3:last-child", ".idx"].filter((part) => one(part, strip) && cut(one(part, strip), strip)),
    },
    now: nowline && {
      text: textOf(nowline),
      windows: all(".wins button", nowline).map((button) => ({
        window: textOf(one(".t2", button)),
        change: figure(one(".chg", button)),
        on: button.getAttribute("aria-pressed") === "true",
        title: button.title,
      })),
      majors: all(".majors .chg", nowline).map(figure),
      breadth: all(":scope > span", nowline).map(textOf).find((text) => /\bof\b/.test(text)) ?? "",
    },
    say: sayings.length ? { text: textOf(sayings[0]), leads: sayings[0].dataset.lead !== undefined } : null,
    index: {
      summary: textOf(one(".sumidx b.num")),
      words: textOf(one(".sumidx b.blk")),
      gauge: gauge ? [...gauge.querySelectorAll("text")].map((text) => text.textContent) : [],
      parts: all(".comp > b.num").map(textOf),
    },
    breadth: breadth && {
      note: textOf(breadth.closest(".mc").querySelector("h2 .r")),
      label: breadth.getAttribute("aria-label"),
      down: part(".d"),
      flat: part(".f"),
      up: part(".u"),
      shares: all(".bl span", breadth.closest(".mc")).map(textOf),
    },
    syncs: all(".mc .sync").map((sync) => {
      const card = sync.closest(".mc");
      const ring = [...sync.querySelectorAll("svg circle, svg path")].map((shape) => toneOf(getComputedStyle(shape).stroke));
      return {
        title: textOf(card.querySelector("h2")),
        change: figure(one(".chg", sync)),
        text: textOf(card),
        rings: ring.filter(Boolean),
      };
    }),
    earlier: all(".mrow").map((row) => ({ text: textOf(one(".ell", row)), time: textOf(one("time", row)), severity: one("svg[aria-label]", row)?.getAttribute("aria-label") ?? "" })),
    counts: {
      heading: textOf(one(".lh-n")),
      tab: textOf(one("[role=tab] .cnt")),
      footer: textOf(one("footer .num")),
      toggles: header ? all(".sevt button", header).map((button) => button.getAttribute("aria-label")) : [],
    },
    header: header && {
      controls: all("button", header)
        .filter((button) => button.getBoundingClientRect().right <= innerWidth + 1 && button.getBoundingClientRect().left >= -1)
        .map((button) => button.getAttribute("aria-label") || textOf(button)),
      lost: all("button", header)
        .filter((button) => button.getBoundingClientRect().right > innerWidth + 1)
        .map((button) => button.getAttribute("aria-label") || textOf(button)),
      crowded: crowded([...header.children].filter(seen)),
    },
    changes,
    coloured,
    clocks,
    bad,
    beyond,
  };
}
