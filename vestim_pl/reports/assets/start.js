(async () => {
  makeTablesSortable();
  if (await startPlotly()) {
    drawFigures();
    await showRecordings();
    followTheme();
  }
  document.documentElement.dataset.ready = "";
})();
