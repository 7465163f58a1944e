/** The paths of the icons, in a square of 16. */
const PATHS = {
  overview: "M2.5 9.5h4v4h-4zM2.5 2.5h4v4h-4zM9.5 2.5h4v7h-4zM9.5 12.5h4v1h-4z",
  store: "M2.5 4c0-2 11-2 11 0v8c0 2-11 2-11 0zM2.5 4c0 2 11 2 11 0M2.5 8c0 2 11 2 11 0",
  scripts: "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
  live: "M1.5 8.5h3l2-5.5 3 10 2-4.5h3",
  jobs: "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM8 4.5V8l2.5 1.5",
  deliveries: "M2 3.5h12v9H2zM2 4l6 5 6-5",
  members:
    "M6 8a2.6 2.6 0 1 0 0-5.2A2.6 2.6 0 0 0 6 8zM1.5 13.5c0-4.3 9-4.3 9 0M11 3.2a2.4 2.4 0 0 1 0 4.5M12.3 9.9c1.6.5 2.3 1.7 2.3 3.6",
  api: "M5 2.5c-3 0 0 5.5-3 5.5 3 0 0 5.5 3 5.5M11 2.5c3 0 0 5.5 3 5.5-3 0 0 5.5-3 5.5",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5l3.5 3.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M3 8.5l3.5 3.5L13 4.5",
  menu: "M2 4.5h12M2 8h12M2 11.5h12",
  chevron: "M5 6.5 8 9.5l3-3",
  plus: "M8 3v10M3 8h10",
  trash: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.5 9h6l.5-9",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13.2 2v3h-3",
  play: "M5 3v10l8-5z",
  pause: "M5.5 3v10M10.5 3v10",
  key: "M10.5 2.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8.3 7.7 2.5 13.5M4.5 11.5l1.5 1.5",
  lock: "M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  warning: "M8 2.5 14.5 13.5h-13zM8 6.5v3.5M8 11.5v.5",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  moon: "M13 9.8A5.8 5.8 0 0 1 6.2 3a5.4 5.4 0 1 0 6.8 6.8z",
  auto: "M8 2.2a5.8 5.8 0 1 0 0 11.6zM8 2.2a5.8 5.8 0 0 1 0 11.6",
  out: "M6.5 3h-4v10h4M10 5l3 3-3 3M13 8H6",
  download: "M8 2v8M5 7.5l3 3 3-3M2.5 13.5h11",
} as const;

export type IconName = keyof typeof PATHS;

/** An icon, which says nothing to those who don't see it: the text beside it, or the label, does. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
