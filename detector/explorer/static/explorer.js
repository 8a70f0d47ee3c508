// Opens photos, and asks for a stage's pictures anew whenever one of its controls moves.
const stages = document.getElementById("stages");
const status = document.getElementById("status");
const drop = document.getElementById("drop");
const chooser = drop.querySelector("input");
const headers = { "Content-Type": "application/octet-stream" };
let opening = null; // the request of the photo that was asked for last

async function open(address, body, name) {
  if (opening) opening.abort();
  const mine = (opening = new AbortController());
  const start = Date.now();
  const tell = () => say(`${name}: in work, ${Math.round((Date.now() - start) / 1000)} s`, "busy");
  const clock = setInterval(tell, 1000);
  tell();
  try {
    const answer = await fetch(address, { method: "POST", headers, body, signal: mine.signal });
    const text = await answer.text();
    if (!answer.ok) return say(text, "error");
    stages.innerHTML = text;
    say("");
    stages.querySelectorAll("form[data-panel]").forEach(prepare);
  } catch (error) {
    if (error.name !== "AbortError") say("The explorer does not answer; is it still running?", "error");
  } finally {
    clearInterval(clock);
  }
}

function say(text, kind = "") {
  status.textContent = text;
  status.className = kind;
}

function prepare(form) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target.name === "region") point(form, "", "");
    label(event.target);
    refresh(form);
  });
  form.querySelectorAll("input[type=range]").forEach(label);
  refresh(form);
}

function chosen(input) {
  return input.dataset.values.split(" ")[input.value];
}

function label(input) {
  if (input.type !== "range") return;
  input.parentElement.querySelector("output").textContent = chosen(input);
  input.setAttribute("aria-valuetext", chosen(input));
}

function query(form) {
  const values = new URLSearchParams();
  for (const input of form.elements) {
    if (!input.name || input.value === "" || (input.type === "checkbox" && !input.checked)) continue;
    values.set(input.name, input.type === "range" ? chosen(input) : input.value);
  }
  return values;
}

// One request at a time: while it runs, any number of movements become one more.
async function refresh(form) {
  form.wanted = true;
  if (form.running) return;
  form.running = true;
  const panel = form.nextElementSibling;
  const key = document.getElementById("photo").dataset.key;
  while (form.wanted && form.isConnected) {
    form.wanted = false;
    try {
      const answer = await fetch(`photos/${key}/${form.dataset.panel}?${query(form)}`);
      const text = await answer.text();
      if (answer.ok) await show(panel, text);
      else fail(panel, text);
    } catch {
      fail(panel, "The explorer does not answer; is it still running?");
    }
  }
  form.running = false;
}

async function show(panel, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  // Decoded before they are shown, so that nothing flickers.
  await Promise.all([...fresh.content.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
  panel.replaceChildren(fresh.content);
}

function fail(panel, text) {
  const line = document.createElement("p");
  line.className = "error";
  line.textContent = text;
  panel.replaceChildren(line);
}

function point(form, x, y) {
  form.elements.x.value = x;
  form.elements.y.value = y;
}

function pick(event) {
  if (!event.target.matches("img[data-pick]")) return;
  const form = event.target.closest("section").querySelector("form");
  const frame = event.target.getBoundingClientRect();
  const part = (value, length) => Math.min(0.999, Math.max(0, value / length)).toFixed(3);
  point(form, part(event.clientX - frame.left, frame.width), part(event.clientY - frame.top, frame.height));
  refresh(form);
}

stages.addEventListener("click", pick);
stages.addEventListener("pointermove", (event) => event.pointerType === "mouse" && pick(event));

chooser.addEventListener("change", () => {
  const [file] = chooser.files;
  if (file) upload(file);
  chooser.value = ""; // the same file may be chosen again
});

function upload(file) {
  open(`photos?name=${encodeURIComponent(file.name)}`, file, file.name);
}

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}

document.querySelectorAll("[data-open]").forEach((button) =>
  button.addEventListener("click", () => open(button.dataset.open, "", button.title)));

document.getElementById("sample")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const image = event.target.elements.image.value.trim();
  open(`samples/${encodeURIComponent(image)}`, "", image);
});
