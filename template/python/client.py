"""The client of the server. INNGEST_DEV or INNGEST_BASE_URL says where the server is."""

import inngest

client = inngest.Inngest(app_id="{{project_name}}")
