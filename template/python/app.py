"""The app: serves its functions to the server at /api/inngest."""

import fastapi
import inngest.fast_api

from client import client
from welcome import welcome

app = fastapi.FastAPI()
# every function of this app
inngest.fast_api.serve(app, client, [welcome])
