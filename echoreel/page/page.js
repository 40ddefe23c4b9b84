// What the page does in the browser by itself: videos in step, thumbnails that play, the part of a reference, the webcam.

// Videos of one result play, pause and move together; under the pointer or the focus they have controls.
const together = (event) => {
  for (const video of event.target.closest(".videos")?.querySelectorAll("video") ?? []) {
    event.type === "pause" ? video.pause() : video.play().catch(() => {});
  }
};
for (const name of ["pause", "play"]) document.addEventListener(name, together, true);

const inStep = () => {
  for (const group of document.querySelectorAll(".videos")) {
    const [first, ...others] = group.querySelectorAll("video");
    for (const other of others) {
      if (Math.abs(other.currentTime - first.currentTime) > 0.12 && other.readyState > 1) {
        other.currentTime = first.currentTime;
      }
    }
  }
};

// Thumbnails play under the pointer or the focus.
const hover = (play) => (event) => {
  const video = event.target.closest && event.target.closest(".hit video, .videos video");
  if (video && video.closest(".videos")) video.controls = play;
  else if (video) play ? video.play().catch(() => {}) : video.pause();
};
for (const name of ["mouseover", "focusin"]) document.addEventListener(name, hover(true));
for (const name of ["mouseout", "focusout"]) document.addEventListener(name, hover(false));

// Gradio's upload areas are named by what is written on them; wide tables scroll by keyboard.
const named = () => {
  for (const area of document.querySelectorAll(".upload-container")) area.removeAttribute("aria-label");
  for (const wide of document.querySelectorAll(".report, .report > *, .report table")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
};
setInterval(() => { inStep(); named(); }, 250);

// The part of a reference: two handles over its film, and the two fields below, say the same.
const LEAST = 0.25; // seconds: two frames
const field = (card, name) => card.querySelector(`.${name} input, .${name} textarea`);
const shade = (part) => {
  const [from, to] = part.querySelectorAll("input");
  part.style.setProperty("--from", from.value / from.max);
  part.style.setProperty("--to", to.value / to.max);
};
const fill = (target, value) => {
  target.value = value;
  target.dispatchEvent(new Event("input", { bubbles: true }));
};
const dragged = (handle) => {
  const part = handle.closest(".part"), card = handle.closest(".card");
  const [from, to] = part.querySelectorAll("input");
  const length = field(card, "end").value === "" ? part.dataset.usual : LEAST;
  if (handle === from) {
    from.value = Math.min(from.value, from.max - LEAST);
    if (field(card, "end").value === "" || to.value - from.value < LEAST) to.value = +from.value + +length;
  } else {
    to.value = Math.max(to.value, +from.value + LEAST);
    fill(field(card, "end"), +to.value);
  }
  if (handle === from) {
    fill(field(card, "start"), +from.value);
    if (field(card, "end").value !== "") fill(field(card, "end"), +to.value);
  }
  shade(part);
};
const typed = (card) => {
  const part = card.querySelector(".part");
  if (!part) return;
  const [from, to] = part.querySelectorAll("input");
  from.value = field(card, "start").value || 0;
  to.value = field(card, "end").value || +from.value + +part.dataset.usual;
  shade(part);
};
document.addEventListener("input", (event) => {
  if (event.target.matches(".part input")) dragged(event.target);
  else if (event.isTrusted && event.target.closest(".start, .end")) typed(event.target.closest(".card"));
});

// The webcam: pictures alone, no sound. What it records is dropped on the page as a file is.
const LONGEST = 10; // seconds
let recorder = null;
const recorded = (chunks, type) => {
  const name = `webcam.${type.includes("mp4") ? "mp4" : "webm"}`;
  const files = new DataTransfer();
  files.items.add(new File(chunks, name, { type }));
  const input = document.querySelector("#drop input[type=file]");
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
};
const told = (text) => { document.querySelector("#webcam-news").textContent = text; };
window.echoreelWebcam = async () => {
  if (recorder) return recorder.stop();
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
  } catch (error) {
    return told(`No webcam: ${error.message}. Allow it in the browser, or drop a video instead.`);
  }
  const view = document.querySelector("#webcam-view"), button = document.querySelector("#webcam");
  const before = button.textContent, chunks = [];
  view.srcObject = stream;
  view.hidden = false;
  await view.play();
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => chunks.push(event.data);
  recorder.onstop = () => {
    const type = recorder.mimeType;
    recorder = null;
    for (const track of stream.getTracks()) track.stop();
    view.hidden = true;
    button.textContent = before;
    told("");
    recorded(chunks, type);
  };
  recorder.start();
  button.textContent = "Stop recording";
  told(`Recording, ${LONGEST} seconds at most.`);
  const mine = recorder;
  setTimeout(() => mine.state === "recording" && mine.stop(), 1000 * LONGEST);
};
