"use strict";
(function () {
  function draw() {
    document.querySelectorAll("script[data-figure]").forEach(function (data) {
      var place = document.getElementById(data.dataset.figure);
      var figure = JSON.parse(data.textContent);
      Plotly.newPlot(place, figure.data, figure.layout, {
        responsive: true, displayModeBar: false, scrollZoom: false, doubleClick: false, showTips: false
      });
      place.on("plotly_legendclick", function () { return false; });
      place.on("plotly_legenddoubleclick", function () { return false; });
    });
  }
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (one) { one.open = false; });
  });
  draw();
})();
