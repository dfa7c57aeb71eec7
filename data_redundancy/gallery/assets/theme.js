// This script is in the head, so that the page is never drawn in the other theme first.
try {
  const theme = localStorage.getItem("data_redundancy theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden */ }
