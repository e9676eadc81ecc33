// What a session holds of its history: the server's summary, carried on by the cache's own rules while a reply streams,
// and drawn.
"use strict";

// Parts of the history, oldest first: {from, to, count} - count of the tokens in [from, to) are held.
class Memory {
  constructor(summary) {
    this.geometry = summary.geometry;
    this.position = summary.position;
    const width = summary.bucket_tokens;
    const parts = (shares) => shares
      .map((share, i) => ({
        from: i * width, to: Math.min((i + 1) * width, summary.position), count: share * width,
      }))
      .filter((part) => part.count > 0);
    this.sinks = parts(summary.sinks.held);
    this.rings = summary.sub_caches.map((ring) => parts(ring.held));
    this.open = parts(summary.open_stride.held);
    // A bucket's share is rounded, the totals are not.
    this.openTokens = summary.open_stride.tokens;
    this.heldExactly = summary.tokens_resident;  // null once it goes on by the rules
  }

  static empty(geometry) {
    const none = { held: [], tokens: 0 };
    return new Memory({
      geometry, position: 0, tokens_resident: 0, bucket_tokens: 1, sinks: none, open_stride: none,
      sub_caches: geometry.sub_cache_tokens.map(() => none),
    });
  }

  static total(parts) { return parts.reduce((sum, part) => sum + part.count, 0); }

  held() {
    if (this.heldExactly !== null) return this.heldExactly;
    return Memory.total(this.sinks) + this.rings.reduce((sum, ring) => sum + Memory.total(ring), 0) + this.openTokens;
  }

  // More tokens came. What stays of a stride is the server's choice; that half of it stays is the rule.
  advance(tokens) {
    const { sinks, stride } = this.geometry;
    this.heldExactly = null;
    while (tokens > 0) {
      const start = this.position;
      if (start < sinks) {
        const some = Math.min(tokens, sinks - start);
        this.sinks.push({ from: start, to: start + some, count: some });
        this.position += some;
        tokens -= some;
        continue;
      }
      const some = Math.min(tokens, stride - this.openTokens);
      const last = this.open[this.open.length - 1];
      if (last && last.to === start) {
        last.to += some;
        last.count += some;
      } else {
        this.open.push({ from: start, to: start + some, count: some });
      }
      this.openTokens += some;
      this.position += some;
      tokens -= some;
      if (this.openTokens >= stride) this.close();
    }
  }

  // The full stride enters the first sub-cache; what has no room moves on, thinned by half once all are full.
  close() {
    const sizes = this.geometry.sub_cache_tokens;
    const capacity = sizes.reduce((sum, size) => sum + size, 0);
    const residents = this.rings.reduce((sum, ring) => sum + Memory.total(ring), 0);
    const filling = residents < capacity - 0.5;
    let arrivals = this.open;
    this.open = [];
    this.openTokens = 0;
    this.rings.forEach((ring, i) => {
      if (i > 0 && !filling) arrivals.forEach((part) => { part.count /= 2; });
      ring.push(...arrivals);
      arrivals = [];
      let surplus = Memory.total(ring) - sizes[i];
      while (surplus > 0.01 && ring.length > 0) {
        const oldest = ring[0];
        if (oldest.count <= surplus + 0.01) {
          surplus -= oldest.count;
          arrivals.push(ring.shift());
        } else {
          const cut = oldest.from + (oldest.to - oldest.from) * (surplus / oldest.count);
          arrivals.push({ from: oldest.from, to: cut, count: surplus });
          oldest.from = cut;
          oldest.count -= surplus;
          surplus = 0;
        }
      }
    });
  }

  describe() {
    const round = (value) => Math.round(value).toLocaleString("en");
    const rings = this.rings.map((ring, i) => `sub-cache ${i + 1} holds ${round(Memory.total(ring))}`);
    const sinks = round(Memory.total(this.sinks));
    return `${round(this.position)} tokens seen, ${round(this.held())} held: ${sinks} sinks, ` +
      `${rings.join(", ")}, open stride ${round(this.openTokens)}. ` +
      `${round(Math.max(0, this.position - this.held()))} forgotten.`;
  }
}

const hueOf = (i) => `--hue-${i % 4}`;

// Above all of it in one strip: bright where all is held, paler where it was thinned, dark where it is forgotten. Below
// it one lane per sub-cache, the newest on top.
function drawMemory(canvas, memory) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  context.clearRect(0, 0, width, height);
  const rings = memory.rings.length;
  const gap = 2 * scale;
  const strip = Math.round(height * 0.45);
  const lane = (height - strip - gap) / (rings || 1);
  const span = Math.max(1, memory.position);
  const marker = 3 * scale;
  context.fillStyle = memory.position > 0 ? colour("--forgotten") : colour("--line");
  context.fillRect(0, 0, width, strip);
  const draw = (parts, name, top, depth, least) => {
    context.fillStyle = colour(name);
    for (const part of parts) {
      const share = Math.min(1, part.count / Math.max(1, part.to - part.from));
      context.globalAlpha = 0.15 + 0.85 * share;
      const left = (part.from / span) * width;
      const right = Math.max((part.to / span) * width, left + least);
      context.fillRect(Math.min(left, width - least), top, right - left, depth);
    }
    context.globalAlpha = 1;
  };
  memory.rings.forEach((ring, i) => {
    draw(ring, hueOf(i), 0, strip, 0);
    const top = strip + gap + i * lane;
    context.fillStyle = colour("--line");
    context.globalAlpha = 0.5;
    context.fillRect(0, top, width, Math.max(1, lane - gap));
    context.globalAlpha = 1;
    draw(ring, hueOf(i), top, Math.max(1, lane - gap), 0);
  });
  draw(memory.open, "--open", 0, strip, marker);
  draw(memory.sinks, "--sinks", 0, strip, marker);
}

function fillLegend(list, geometry) {
  const entries = [["--sinks", "sinks", ` (first ${geometry.sinks}, never forgotten)`]];
  geometry.sub_cache_tokens.forEach((size, i) => {
    entries.push([hueOf(i), `sub-cache ${i + 1}`, ` (${size}${i > 0 ? ", thinned" : ""})`]);
  });
  entries.push(["--open", "open stride", ` (${geometry.stride})`], ["--forgotten", "forgotten", ""]);
  list.replaceChildren(...entries.map(([name, text, more]) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.setAttribute("aria-hidden", "true");
    swatch.style.background = `var(${name})`;
    const rest = document.createElement("span");
    rest.className = "more";
    rest.textContent = more;
    const label = document.createElement("span");
    label.append(text, rest);
    item.append(swatch, label);
    return item;
  }));
}
