import type { Server } from "node:http";

export declare const CSP: string;
export declare function startProxy(options: { port: number; target: number; prefix?: string }): Promise<Server>;
