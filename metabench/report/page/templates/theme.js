// Light, dark, or as the system has it; remembered where the browser allows it.

const themes = ["auto", "light", "dark"];
const switcher = document.getElementById("theme");

function remembered(value) {
  try {
    if (value === undefined) return localStorage.getItem("metabench-theme");
    localStorage.setItem("metabench-theme", value);
  } catch { /* a page opened from a disk may not be allowed to */ }
  return null;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  switcher.textContent = `Theme: ${theme}`;
}

setTheme(themes.includes(remembered()) ? remembered() : "auto");
switcher.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  setTheme(next);
  remembered(next);
});
