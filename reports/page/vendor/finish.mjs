// Puts the licence before the bundle and makes sure that it can stand inside <script>.
import { readFileSync, writeFileSync } from "node:fs";

const bundle = new URL("../charts.vendor.js", import.meta.url);
const { version } = JSON.parse(readFileSync("node_modules/echarts/package.json", "utf8"));
const code = readFileSync(bundle, "utf8").replace(/<(?=\/script|!--|script)/gi, "\\x3C");
const banner = `/*! Apache ECharts ${version}, with zrender and tslib: see charts.vendor.LICENSE.txt */\n`;
writeFileSync(bundle, banner + code);

const licences = [
  ["Apache ECharts", "echarts/LICENSE"],
  ["Apache ECharts, notice", "echarts/NOTICE"],
  ["zrender", "zrender/LICENSE"],
  ["tslib", "tslib/LICENSE.txt"],
].map(([what, file]) => `${what}\n${"=".repeat(what.length)}\n\n${readFileSync(`node_modules/${file}`, "utf8").trim()}\n`);
writeFileSync(new URL("../charts.vendor.LICENSE.txt", import.meta.url), licences.join("\n\n"));
