// In Nuxt 3: import { serve } from "inngest/nuxt"; export default defineEventHandler(serve({ … }))
import { serve } from "inngest/edge";
import { defineHandler } from "nitro/h3";
import { inngest } from "../../inngest/client";
import { enhanceClientWithAi } from "../../inngest/functions/enhance-client-with-ai";
import { helloWorld } from "../../inngest/functions/hello-world";

const handler = serve({ client: inngest, functions: [helloWorld, enhanceClientWithAi] });

export default defineHandler((event) => handler(event.req));
