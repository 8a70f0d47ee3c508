// Opens photos, and requests a stage's pictures again whenever one of its controls changes.
const stages = document.getElementById("stages");
const status = document.getElementById("status");
const drop = document.getElementById("drop");
const chooser = drop.querySelector("input");
const headers = { "Content-Type": "application/octet-stream" };
let opening = null; // aborts the latest request for a photo

async function open(address, body, name) {
  if (opening) opening.abort();
  const abort = (opening = new AbortController());
  const start = Date.now();
  const showTime = () => showStatus(`${name}: processing, ${Math.round((Date.now() - start) / 1000)} s`, "busy");
  const timer = setInterval(showTime, 1000);
  showTime();
  try {
    const response = await fetch(address, { method: "POST", headers, body, signal: abort.signal });
    const text = await response.text();
    if (!response.ok) return showStatus(text, "error");
    stages.innerHTML = text;
    showStatus("");
    stages.querySelectorAll("form[data-panel]").forEach(prepare);
  } catch (error) {
    if (error.name !== "AbortError") showStatus("The explorer does not respond; is it still running?", "error");
  } finally {
    clearInterval(timer);
  }
}

function showStatus(text, kind = "") {
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

function valueOf(input) {
  return input.dataset.values.split(" ")[input.value];
}

function label(input) {
  if (input.type !== "range") return;
  input.parentElement.querySelector("output").textContent = valueOf(input);
  input.setAttribute("aria-valuetext", valueOf(input));
}

function query(form) {
  const values = new URLSearchParams();
  for (const input of form.elements) {
    if (!input.name || input.value === "" || (input.type === "checkbox" && !input.checked)) continue;
    values.set(input.name, input.type === "range" ? valueOf(input) : input.value);
  }
  return values;
}

// One request at a time: changes while it runs lead to one more.
async function refresh(form) {
  form.stale = true;
  if (form.running) return;
  form.running = true;
  const panel = form.nextElementSibling;
  const key = document.getElementById("photo").dataset.key;
  while (form.stale && form.isConnected) {
    form.stale = false;
    try {
      const response = await fetch(`photos/${key}/${form.dataset.panel}?${query(form)}`);
      const text = await response.text();
      if (response.ok) await show(panel, text);
      else fail(panel, text);
    } catch {
      fail(panel, "The explorer does not respond; is it still running?");
    }
  }
  form.running = false;
}

async function show(panel, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  // Decode the images before they are shown, so that nothing flickers.
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
  const fraction = (value, length) => Math.min(0.999, Math.max(0, value / length)).toFixed(3);
  point(form, fraction(event.clientX - frame.left, frame.width), fraction(event.clientY - frame.top, frame.height));
  refresh(form);
}

stages.addEventListener("click", pick);
stages.addEventListener("pointermove", (event) => event.pointerType === "mouse" && pick(event));

chooser.addEventListener("change", () => {
  const [file] = chooser.files;
  if (file) upload(file);
  chooser.value = ""; // allows the same file again
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
