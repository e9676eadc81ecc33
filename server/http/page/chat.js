// The conversation: one session per tab, of which only what is new is sent.
"use strict";

const element = (id) => document.getElementById(id);
const state = { model: "", session: null, turns: [], memory: null, running: null, drawing: false };

function store() {
  try {
    sessionStorage.setItem("cascade", JSON.stringify({ session: state.session, turns: state.turns.slice(-200) }));
  } catch {
    // Full or forbidden: the conversation goes on, and a reload begins a new one.
  }
}

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

class ApiError extends Error {
  constructor(status, error) {
    super((error && error.message) || `the server answered ${status}`);
    this.status = status;
  }
}

async function call(method, path, body, signal) {
  const options = { method, signal, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ApiError(response.status, answer.error);
  }
  return response;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// A turn that was stopped needs a moment to end; its session is busy until then.
async function untilFree() {
  for (let attempt = 1; attempt <= 20; ++attempt) {
    const session = await (await call("GET", `/v1/sessions/${state.session}`)).json();
    if (session.state !== "busy") return;
    await pause(25 * attempt);
  }
}

// The session may be in use elsewhere, too.
async function whenFree(request) {
  for (let attempt = 0; ; ++attempt) {
    try {
      return await request();
    } catch (error) {
      if (error.status !== 409 || attempt >= 10) throw error;
      await pause(100 * (attempt + 1));
    }
  }
}

function redraw() {
  if (state.drawing || !state.memory) return;
  state.drawing = true;
  requestAnimationFrame(() => {
    state.drawing = false;
    const memory = state.memory;
    drawMemory(element("picture"), memory);
    const count = (value) => Math.round(value).toLocaleString("en");
    element("seen").textContent = count(memory.position);
    element("held").textContent = count(memory.held());
    element("forgotten").textContent = count(Math.max(0, memory.position - memory.held()));
    element("axis-end").textContent = `token ${count(memory.position)}, now`;
  });
}

function setMemory(memory) {
  state.memory = memory;
  element("memory-text").textContent = memory.describe();
  redraw();
}

async function fetchMemory() {
  if (!state.session) return;
  const response = await whenFree(() => call("GET", `/v1/sessions/${state.session}/memory?buckets=512`));
  setMemory(new Memory(await response.json()));
}

async function openSession() {
  const response = await call("POST", "/v1/sessions", { label: "chat-page" });
  const session = await response.json();
  state.session = session.id;
  fillLegend(element("legend"), session.geometry);
  setMemory(Memory.empty(session.geometry));
  store();
}

function showTurn(turn) {
  const box = document.createElement("div");
  box.className = `turn ${turn.role}`;
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = turn.role === "user" ? "You" : "Model";
  const text = document.createElement("span");
  text.textContent = turn.text;
  box.append(who, text);
  element("log").append(box);
  element("log").scrollTop = element("log").scrollHeight;
  return text;
}

// Events of a response as they come: what follows "data: ".
async function* events(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (event.startsWith("data: ")) yield event.slice(6);
    }
  }
}

// Adds text to a turn, once per frame however fast it comes, and follows it where the reader is at the end.
class Writer {
  constructor(shown) {
    this.text = document.createTextNode("");
    this.pending = "";
    shown.append(this.text);
  }

  add(text) {
    if (this.pending === "") requestAnimationFrame(() => this.flush());
    this.pending += text;
  }

  flush() {
    const log = element("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    this.text.appendData(this.pending);
    this.pending = "";
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
}

async function streamReply(message, reply, shown, signal) {
  const body = {
    model: state.model, session_id: state.session, stream: true, messages: [{ role: "user", content: message }],
    temperature: Number(element("temperature").value), max_tokens: Number(element("max-tokens").value),
  };
  // How long the message is, for the picture; the server says it exactly afterwards.
  const counted = call("POST", "/tokenize", { messages: body.messages }, signal)
    .then((response) => response.json()).then((answer) => answer.count).catch(() => 0);
  const response = await whenFree(() => call("POST", "/v1/chat/completions", body, signal));
  const writer = new Writer(shown);
  let seq = 0;
  let began = 0;
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(0, chunk.error);
    const choice = chunk.choices[0];
    if (choice && choice.delta.content) {
      reply.text += choice.delta.content;
      writer.add(choice.delta.content);
    }
    if (!chunk.cascade) continue;
    const now = performance.now();
    if (began === 0) {
      began = now;
      if (state.memory) state.memory.advance(await counted);
    } else if (now > began) {
      element("speed").textContent = ((chunk.cascade.seq - 1) * 1000 / (now - began)).toFixed(1);
    }
    if (state.memory) state.memory.advance(Math.max(0, chunk.cascade.seq - seq));
    seq = chunk.cascade.seq;
    redraw();
  }
  throw new ApiError(0, { message: "the connection was lost" });
}

function setRunning(running) {
  state.running = running;
  element("send").hidden = running !== null;
  element("stop").hidden = running === null;
  element("new-chat").disabled = running !== null;
  // Read aloud when it is whole, not word by word.
  element("log").setAttribute("aria-busy", String(running !== null));
}

async function send() {
  const message = element("message").value.trim();
  if (message === "" || state.running) return;
  const abort = new AbortController();
  setRunning(abort);
  say("");
  element("message").value = "";
  const user = { role: "user", text: message };
  const reply = { role: "assistant", text: "" };
  showTurn(user);
  const shown = showTurn(reply);
  try {
    if (!state.session) await openSession();
    await streamReply(message, reply, shown, abort.signal);
    say(`Reply complete: ${reply.text.length} characters.`);
  } catch (error) {
    if (error.name === "AbortError") {
      await untilFree().catch(() => {});
      say("Stopped. What was said so far is remembered.");
    } else {
      say(error.message, true);
      if (error.status === 404) forget();
    }
  }
  if (reply.text === "") shown.parentElement.remove();
  state.turns.push(user, ...(reply.text === "" ? [] : [reply]));
  store();
  setRunning(null);
  element("message").focus();
  await fetchMemory().catch(() => {});
}

function forget() {
  state.session = null;
  store();
}

async function newChat() {
  if (state.running) return;
  const old = state.session;
  state.session = null;
  state.turns = [];
  element("log").replaceChildren();
  element("speed").textContent = "\u2013";
  say("");
  if (state.memory) setMemory(Memory.empty(state.memory.geometry));
  store();
  if (old) await call("DELETE", `/v1/sessions/${old}`).catch(() => {});
  element("message").focus();
}

async function restore() {
  let saved = null;
  try {
    saved = JSON.parse(sessionStorage.getItem("cascade"));
  } catch {
    // Nothing that can be used.
  }
  if (!saved || !saved.session) return;
  try {
    const session = await (await call("GET", `/v1/sessions/${saved.session}`)).json();
    state.session = saved.session;
    state.turns = saved.turns;
    state.turns.forEach(showTurn);
    fillLegend(element("legend"), session.geometry);
    await fetchMemory();
  } catch {
    say("The earlier session has ended; the next message begins a new one.");
    forget();
  }
}

async function start() {
  element("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  element("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  element("stop").addEventListener("click", () => state.running && state.running.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.running) state.running.abort();
  });
  element("new-chat").addEventListener("click", newChat);
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  try {
    const models = await (await call("GET", "/v1/models")).json();
    state.model = models.data[0].id;
    element("model").textContent = state.model;
  } catch (error) {
    say(error.message, true);
  }
  await restore();
  element("message").focus();
}

start();
