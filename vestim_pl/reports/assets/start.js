(async () => {
  makeTablesSortable();
  if (!(await startPlotly())) return;
  drawFigures();
  await showRecordings();
  followTheme();
  document.documentElement.dataset.ready = "";
})();
