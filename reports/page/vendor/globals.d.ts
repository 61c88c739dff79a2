// What the scripts of the page take from outside; for `npm run types` alone.
declare const echarts: { init(dom: HTMLElement, theme: null, options: object): any };
interface Window {
  tracekit: any;
}
