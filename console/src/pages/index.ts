/** The pages of a circle: a bundle of its own, which is loaded with the login. */

import type { ComponentType } from "preact";
import type { PageName } from "../frame/pages.js";
import type { Session } from "../session.js";
import { ApiPage } from "./api.js";
import { DeliveriesPage } from "./deliveries.js";
import { JobsPage } from "./jobs.js";
import { LivePage } from "./live.js";
import { MembersPage } from "./members.js";
import { OverviewPage } from "./overview.js";
import { ScriptsPage } from "./scripts.js";
import { StorePage } from "./store.js";

export const COMPONENTS: Record<PageName, ComponentType<{ session: Session }>> = {
  overview: OverviewPage,
  store: StorePage,
  scripts: ScriptsPage,
  live: LivePage,
  jobs: JobsPage,
  deliveries: DeliveriesPage,
  members: MembersPage,
  api: ApiPage,
};
