// The edits' cards: which are shown, which has the focus, and what keys and buttons do.

function createGallery(cards, bar) {
  const keysDialog = document.getElementById("keys");
  const visible = () => cards.filter((card) => !card.hidden);

  // The next (1) or previous (-1) shown card after `card`, also where this one is not shown itself.
  function beside(card, step) {
    const order = cards.indexOf(card);
    const rest = step > 0 ? cards.slice(order + 1) : cards.slice(0, Math.max(order, 0)).reverse();
    return rest.find((other) => !other.hidden);
  }

  function focus(card) {
    card.closest(".photo").open = true;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  let current = null;
  const here = () => document.activeElement?.closest(".edit") ?? current;

  // From nowhere, the first step goes to the first card in sight.
  function go(step) {
    const from = here();
    const below = bar.getBoundingClientRect().bottom;
    const goal = from ? beside(from, step) : visible().find((card) => card.getBoundingClientRect().bottom > below);
    if (goal) focus(goal);
  }

  // Shows the cards that pass; a photograph without any is left out as long as something is filtered.
  function filter(passes) {
    for (const card of cards) card.hidden = !passes(card);
    for (const section of document.querySelectorAll(".photo")) {
      const own = [...section.querySelectorAll(".edit")];
      section.hidden = own.length > 0 && own.every((card) => card.hidden);
    }
  }

  for (const card of cards) {
    card.tabIndex = -1;
    card.addEventListener("focusin", () => {
      if (current) current.tabIndex = -1;
      current = card;
      card.tabIndex = 0;
    });
  }
  if (cards.length) cards[0].tabIndex = 0;
  const help = () => keysDialog.open || keysDialog.showModal();
  for (const button of document.querySelectorAll("button.help")) button.addEventListener("click", help);
  keysDialog.querySelector(".close").addEventListener("click", () => keysDialog.close());

  return { visible, beside, focus, go, here, filter, help };
}

function start() {
  const cards = [...document.querySelectorAll(".edit")];
  const bar = document.getElementById("review");
  const gallery = createGallery(cards, bar);
  const review = createReview(cards, bar);
  const viewer = createViewer(document.getElementById("viewer"), gallery, review);
  const shown = { decision: "all", ids: null };
  const shows = [...bar.querySelectorAll("[data-show]")];

  function refilter() {
    const decided = (card) => shown.decision === "all" || review.of(card) === shown.decision;
    gallery.filter((card) => decided(card) && (!shown.ids || shown.ids.has(card.id)));
  }

  function paint(ids) {
    for (const id of ids) {
      const card = document.getElementById(id);
      const decision = review.of(card);
      card.dataset.decided = decision;
      card.querySelector(".verdict").textContent = { keep: "kept", reject: "rejected" }[decision] ?? "";
      for (const button of card.querySelectorAll("[data-decision]")) {
        button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
      }
    }
    const counts = { all: cards.length, open: 0, keep: 0, reject: 0 };
    for (const card of cards) counts[review.of(card)] += 1;
    for (const button of shows) button.querySelector("b").textContent = counts[button.dataset.show];
    bar.style.setProperty("--kept", counts.keep / counts.all);
    bar.style.setProperty("--rejected", counts.reject / counts.all);
  }

  // Where only open edits are shown, a decided one leaves, and the focus goes to the one after it.
  function decide(card, decision) {
    const next = gallery.beside(card, 1) ?? gallery.beside(card, -1);
    review.decide(card, decision);
    if (card.hidden && next) gallery.focus(next);
  }

  // A row of the frame is an edit's card, or a reconstruction's.
  function open(id) {
    const row = CSS.escape(id.replace("edit-", ""));
    const card = document.getElementById(id) ?? document.querySelector(`.source[data-rows~="${row}"]`);
    if (card) viewer.open(card);
    else review.tell("This result is not on this page. Open the report of its own run.");
  }

  const acts = {
    next: () => gallery.go(1),
    previous: () => gallery.go(-1),
    keep: (card) => decide(card, "keep"),
    reject: (card) => decide(card, "reject"),
    open: (card) => decide(card, "open"),
    view: (card) => viewer.open(card),
  };
  const keys = { j: "next", k: "previous", a: "keep", r: "reject", x: "reject", u: "open" };
  const cardKeys = { ArrowRight: "next", ArrowLeft: "previous", Enter: "view" };

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || target.matches("input, select, textarea")) return;
    if (key === "?") return gallery.help();
    const onCard = target.matches(".edit") || target === document.body;
    const act = keys[key.toLowerCase()] ?? (onCard ? cardKeys[key] : undefined);
    const card = gallery.here();
    if (!act || (!card && !["next", "previous"].includes(act))) return;
    acts[act](card);
    event.preventDefault();
  });

  document.getElementById("photos").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    const card = button?.closest(".edit");
    if (card && button.dataset.decision) decide(card, review.pressed(card, button));
    if (button?.matches(".pic")) viewer.open(...opened(button));
  });

  // What the viewer shows for a picture: its edit; for a word's map the first edit that has it; for the photograph
  // its first reconstruction.
  function opened(button) {
    const image = button.querySelector("img");
    const source = button.closest(".source");
    const strip = button.closest(".strip");
    if (strip) return [document.getElementById(`edit-${strip.dataset.rows.split(" ")[0]}`), image];
    if (!source) return [button.closest(".edit"), image];
    const made = source.dataset.reconstruction ? source : source.parentElement.querySelector("[data-reconstruction]");
    return [made, image];
  }

  for (const button of shows) {
    button.addEventListener("click", () => {
      shown.decision = button.dataset.show;
      for (const other of shows) other.setAttribute("aria-pressed", String(other === button));
      refilter();
    });
  }
  document.getElementById("save").addEventListener("click", review.save);
  const file = document.getElementById("file");
  document.getElementById("load").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    if (file.files.length) await review.load(file.files[0]);
    file.value = "";
  });

  const jump = document.getElementById("jump");
  const sections = [...document.querySelectorAll(".photo")];
  jump.hidden = sections.length < 2;
  jump.append(...sections.map((section) => new Option(section.querySelector(".name").textContent, section.id)));
  jump.addEventListener("change", () => {
    document.getElementById(jump.value)?.scrollIntoView();
    jump.value = "";
  });

  review.onChange((ids) => {
    paint(ids);
    if (shown.decision !== "all") refilter();
  });
  document.addEventListener("rli:open", ({ detail }) => open(detail.id));
  document.addEventListener("rli:filter", ({ detail }) => {
    shown.ids = detail.ids && new Set(detail.ids.map((id) => `edit-${id}`));
    refilter();
  });
  paint(cards.map((card) => card.id));
  bar.hidden = !cards.length;
  // What is scrolled to comes to lie under the bar, not behind it.
  new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
  document.documentElement.classList.add("scripts");
}

start();
