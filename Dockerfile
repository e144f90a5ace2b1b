# The command line as an image: docker build -t stepladder .
#
# The compiler runs on the builder's own platform and links for the image's, so that no emulator is
# needed. The image contains only glibc, root certificates and the binary, and runs as `nonroot`.
# Outside of loopback the server does not start without keys:
#
#   docker run -p 127.0.0.1:8288:8288 -v stepladder:/data/.stepladder \
#     -e STEPLADDER_EVENT_KEYS=… -e STEPLADDER_DASHBOARD_TOKEN=… stepladder

FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-trixie AS build
ARG TARGETARCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir --break-system-packages cargo-zigbuild==0.24.1 ziglang==0.17.1
WORKDIR /source
COPY . .
# the folder of the data file belongs to the user of the image, which can create none beside it
RUN case "$TARGETARCH" in \
        amd64) target=x86_64-unknown-linux-gnu ;; \
        arm64) target=aarch64-unknown-linux-gnu ;; \
        *) echo "no image for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && rustup target add "$target" \
    && cargo zigbuild --locked --profile dist --package stepladder-cli --target "$target.2.17" \
    && mkdir -p /image/data/.stepladder /image/usr/local/bin \
    && cp "target/$target/dist/stepladder" /image/usr/local/bin/

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build /image/usr/local/bin/stepladder /usr/local/bin/stepladder
WORKDIR /data
VOLUME /data/.stepladder
EXPOSE 8288
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/stepladder", "health"]
ENTRYPOINT ["/usr/local/bin/stepladder"]
CMD ["dev", "--host", "0.0.0.0"]
