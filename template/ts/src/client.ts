import { Inngest } from "inngest";

// INNGEST_DEV or INNGEST_BASE_URL says where the server is
export const inngest = new Inngest({ id: "{{project_name}}" });
