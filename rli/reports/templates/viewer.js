// The viewer: two pictures of one edit in the same place, a border between them, zoom and pan.

const LARGEST = 48; // screen pixels for a picture's pixel
const THUMB = 36; // width of the slider's thumb, as in viewer.css
const WHOLE = "img:not(.detail)"; // pictures, and not their parts that lie over them
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// What can be seen of a card, as [key, label, image] in groups.
function layersOf(card) {
  const section = card.closest(".photo");
  const entry = (image) => [image.dataset.key, image.dataset.label, image];
  const source = (name) => [...(document.getElementById(card.dataset[name])?.querySelectorAll(WHOLE) ?? [])];
  const row = card.id.replace("edit-", "");
  const strips = [...section.querySelectorAll(`.strip[data-rows~="${row}"] img`)];
  const own = card.matches(".edit") ? [...card.querySelectorAll(WHOLE)] : [];
  const [reconstruction, ...differences] = source("reconstruction");
  const others = [...section.querySelectorAll(".edit")].filter((other) => other !== card);
  return {
    "This edit": [...source("input"), reconstruction, ...own].filter(Boolean).map(entry),
    "Where words look": strips.map(entry),
    "The reconstruction": differences.map(entry).map(([key, label, image]) => [key, `reconstruction: ${label}`, image]),
    "Other edits": others.map((other) => [other.id, nameOf(other), other.querySelector("img")]),
  };
}

function nameOf(card) {
  const { defect, job } = JSON.parse(card.dataset.record);
  const chips = [...card.querySelectorAll(".chips span")].map((chip) => chip.textContent);
  return [defect, job && `job ${job}`, ...chips].filter(Boolean).join(" · ");
}

function createViewer(dialog, gallery, review) {
  const part = (selector) => dialog.querySelector(selector);
  const stage = part(".stage");
  const slider = part("input[type=range]");
  const sides = ["left", "right"].map((side) => ({
    layer: part(`.layer.${side}`),
    image: part(`.layer.${side} img`),
    select: part(`select.${side}`),
    tag: part(`.tag.${side}`),
    wanted: side === "left" ? "input" : "edit",
  }));
  const view = { card: null, layers: new Map(), width: 1, height: 1, scale: 1, x: 0, y: 0, whole: true };

  const fit = () => Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height);
  const within = (value, low, high) => Math.min(Math.max(value, low), high);

  // The nearest place to `at` where a picture `length` long leaves no more of the stage free than it must.
  function settled(at, length, room) {
    return length <= room ? (room - length) / 2 : within(at, room - length, 0);
  }

  // A side's picture and the parts that lie over it, with their places in the photograph's pixels.
  function pieces(side) {
    return [side.image, ...side.layer.querySelectorAll(".detail")].map((image) => {
      const [x, y, width, height] = (image.dataset.place || "0 0 1 1").split(" ").map(Number);
      const [across, down] = [view.width, view.height];
      return { image, x: x * across, y: y * down, width: width * across, height: height * down };
    });
  }

  function draw() {
    const [room, tall] = [stage.clientWidth, stage.clientHeight];
    if (view.whole) view.scale = fit();
    view.x = settled(view.x, view.width * view.scale, room);
    view.y = settled(view.y, view.height * view.scale, tall);
    const low = Math.max(0, view.x);
    const high = Math.min(room, view.x + view.width * view.scale);
    const border = low + ((high - low) * slider.value) / 100;
    for (const { image, x, y, width, height } of sides.flatMap(pieces)) {
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
      image.style.transform = `translate(${view.x + x * view.scale}px, ${view.y + y * view.scale}px) scale(${view.scale})`;
    }
    sides[0].layer.style.clipPath = `inset(0 ${room - border}px 0 0)`;
    sides[1].layer.style.clipPath = `inset(0 0 0 ${border}px)`;
    part(".border").style.left = `${border}px`;
    slider.style.left = `${low - THUMB / 2}px`;
    slider.style.width = `${high - low + THUMB}px`;
    stage.classList.toggle("pixels", !view.whole && view.scale >= 2);
    part("output").textContent = `${Math.round(view.scale * 100)} %`;
  }

  // Zooms so that what is at (x, y) of the stage stays there; by default the middle.
  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const least = fit();
    const scale = within(view.scale * factor, least, Math.max(LARGEST, least));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    Object.assign(view, { scale, whole: scale <= least * 1.001 });
    draw();
  }

  function pan(dx, dy) {
    view.x += dx;
    view.y += dy;
    draw();
  }

  function put(side) {
    const [label, image] = view.layers.get(side.select.value);
    side.image.src = image.src;
    side.image.alt = label;
    side.image.dataset.place = image.dataset.place ?? "";
    for (const part of side.layer.querySelectorAll(".detail")) part.remove();
    for (const part of image.parentElement.querySelectorAll(".detail")) {
      const { className, src, dataset: { place } } = part;
      const copy = Object.assign(new Image(), { className, src, alt: "", draggable: false });
      copy.dataset.place = place;
      side.layer.append(copy);
    }
    side.tag.textContent = label;
  }

  function choose(side, key) {
    side.wanted = key;
    side.select.value = key;
    put(side);
    draw();
  }

  // What one side showed of the last card, the other shows of this one, too; `fallback` where this one has no such.
  function fill(side, groups, fallback) {
    const options = Object.entries(groups).filter(([, entries]) => entries.length).map(([label, entries]) => {
      const group = Object.assign(document.createElement("optgroup"), { label });
      group.append(...entries.map(([key, text]) => new Option(text, key)));
      return group;
    });
    side.select.replaceChildren(...options);
    side.select.value = view.layers.has(side.wanted) ? side.wanted : fallback;
    put(side);
  }

  function show(card) {
    const groups = layersOf(card);
    const entries = Object.values(groups).flat();
    view.card = card;
    view.layers = new Map(entries.map(([key, label, image]) => [key, [label, image]]));
    // The attributes are the picture's own size (or that of what it shows scaled down); the properties would be what the
    // card makes of it.
    const main = card.querySelector("img");
    const [width, height] = ["width", "height"].map((name) => Number(main.dataset[name] ?? main.getAttribute(name)));
    Object.assign(view, { width, height });
    fill(sides[0], groups, entries[0][0]);
    fill(sides[1], groups, view.layers.has("edit") ? "edit" : entries.at(-1)[0]);
    const photo = card.closest(".photo").querySelector(".name").textContent;
    part("h2").textContent = card.matches(".edit") ? `${photo}: ${nameOf(card)}` : photo;
    mark();
    draw();
  }

  function mark() {
    const cards = gallery.visible();
    const place = cards.indexOf(view.card);
    part(".place").textContent = place < 0 ? "" : `${place + 1} of ${cards.length}`;
    part(".decide").hidden = part(".step").hidden = !view.card.matches(".edit");
    for (const button of dialog.querySelectorAll("[data-decision]")) {
      button.setAttribute("aria-pressed", String(review.of(view.card) === button.dataset.decision));
    }
  }

  // `image`: the picture that was chosen; one beside the edit itself stands on the left.
  function open(card, image = null) {
    view.whole = true;
    view.opener = card;
    dialog.showModal();
    dialog.querySelector("input[type=range]").focus();
    const own = card.matches(".edit") ? "edit" : "reconstruction";
    const isWindow = image?.dataset.key.startsWith("window");
    sides[0].wanted = image && image.dataset.key !== own && !isWindow ? image.dataset.key : "input";
    sides[1].wanted = own;
    show(card);
    if (image?.dataset.place) look(image.dataset.place);
  }

  // Zooms to a part of the photograph.
  function look(place) {
    const [left, top, across, down] = place.split(" ").map(Number);
    const [width, height] = [across * view.width, down * view.height];
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height, LARGEST);
    view.x = stage.clientWidth / 2 - (left * view.width + width / 2) * scale;
    view.y = stage.clientHeight / 2 - (top * view.height + height / 2) * scale;
    Object.assign(view, { scale, whole: scale <= fit() });
    draw();
  }

  function go(step) {
    const card = gallery.beside(view.card, step);
    if (card) show(card);
  }

  function decide(decision) {
    if (!view.card.matches(".edit")) return;
    // Where only open edits are shown, a decided one leaves: what comes after it is asked for before.
    const next = gallery.beside(view.card, 1) ?? gallery.beside(view.card, -1);
    review.decide(view.card, decision);
    if (view.card.hidden && next) show(next);
  }

  const acts = {
    close: () => dialog.close(),
    larger: () => zoom(1.5),
    smaller: () => zoom(1 / 1.5),
    whole() {
      view.whole = true;
      draw();
    },
    next: () => go(1),
    previous: () => go(-1),
    swap() {
      const [left, right] = sides.map((side) => side.select.value);
      choose(sides[0], right);
      choose(sides[1], left);
    },
    keep: () => decide("keep"),
    reject: () => decide("reject"),
    open: () => decide("open"),
    help: () => gallery.help(),
  };
  const keys = {
    ...{ "+": "larger", "=": "larger", "-": "smaller", "−": "smaller", 0: "whole", "?": "help" },
    ...{ j: "next", k: "previous", a: "keep", r: "reject", x: "reject", u: "open" },
  };

  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
    const arrow = ARROWS[event.key];
    if (arrow && event.target === slider && !event.shiftKey) return;
    if (arrow) pan(arrow[0] * stage.clientWidth * 0.1, arrow[1] * stage.clientHeight * 0.1);
    else if (Object.hasOwn(keys, event.key.toLowerCase())) acts[keys[event.key.toLowerCase()]]();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button?.dataset.do) acts[button.dataset.do]();
    if (button?.dataset.decision) decide(review.pressed(view.card, button));
  });
  // The browser gives the focus back to what had it; after a walk to another edit, that one's card shall have it.
  dialog.addEventListener("close", () => view.card !== view.opener && gallery.focus(view.card));
  slider.addEventListener("input", draw);
  for (const side of sides) side.select.addEventListener("change", () => choose(side, side.select.value));
  new ResizeObserver(() => dialog.open && draw()).observe(stage);
  review.onChange(() => dialog.open && mark());

  // Fingers and mouse: one pointer drags, two pinch.
  const pointers = new Map();
  const spot = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left - stage.clientLeft, event.clientY - box.top - stage.clientTop];
  };
  const spread = ([[ax, ay], [bx, by]]) => ({ at: [(ax + bx) / 2, (ay + by) / 2], wide: Math.hypot(ax - bx, ay - by) });
  stage.addEventListener("pointerdown", (event) => {
    if (event.target === slider) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, spot(event));
  });
  stage.addEventListener("pointermove", (event) => {
    const [now, before] = [spot(event), pointers.get(event.pointerId)];
    read(now);
    if (!before) return;
    const two = pointers.size === 2 && spread([...pointers.values()]);
    pointers.set(event.pointerId, now);
    if (two) {
      const { at, wide } = spread([...pointers.values()]);
      pan(at[0] - two.at[0], at[1] - two.at[1]);
      zoom(wide / two.wide, ...at);
    } else pan(now[0] - before[0], now[1] - before[1]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...spot(event));
  }, { passive: false });

  // The pixel under the pointer: its place, and both pictures' values there.
  const dot = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const sample = dot.getContext("2d", { willReadFrequently: true });
  sample.imageSmoothingEnabled = false;
  function read([atX, atY]) {
    const [x, y] = [Math.floor((atX - view.x) / view.scale), Math.floor((atY - view.y) / view.scale)];
    const inside = x >= 0 && y >= 0 && x < view.width && y < view.height;
    const values = sides.map((side) => {
      sample.clearRect(0, 0, 1, 1);
      for (const { image, x: left, y: top, width, height } of pieces(side)) {
        sample.drawImage(image, left - x, top - y, width, height);
      }
      return [...sample.getImageData(0, 0, 1, 1).data.slice(0, 3)].join(" ");
    });
    part(".pixel").textContent = inside ? `x ${x}, y ${y} · left ${values[0]} · right ${values[1]}` : "";
  }

  return { open, isOpen: () => dialog.open };
}
