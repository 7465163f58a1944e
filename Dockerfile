# syntax=docker/dockerfile:1
# docker build -t circled . && docker run --rm -p 127.0.0.1:8080:8080 -v circled:/var/lib/circled -v ./circled.toml:/etc/circled/circled.toml:ro circled

ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
# Where the last stage finds /image. `make image-test` gives an image that has it already, from a binary built outside.
ARG BUILT=build

FROM ${NODE_IMAGE} AS console
WORKDIR /src/console
COPY console/package.json console/package-lock.json console/.npmrc ./
RUN npm ci
COPY clients/typescript/src ../clients/typescript/src
COPY console ./
RUN npm run build

FROM ${RUST_IMAGE} AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends binutils ca-certificates gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches ./benches
COPY config ./config
COPY crates ./crates
COPY src ./src
COPY console/files.txt ./console/
COPY --from=console /src/console/dist ./console/dist
# No image is without its web console.
ENV REQUIRE_CONSOLE=1
RUN cargo build --release --locked --bin circled
COPY ops/image/root ./ops/image/
RUN ops/image/root target/release/circled /image

FROM ${BUILT} AS built

# The binary, its few libraries, and whom to trust for rediss:// and wss://. There is no shell.
FROM scratch
COPY --from=built /image/root/ /
COPY --from=built --chown=10001:10001 /image/lib/ /var/lib/
USER 10001:10001
# Other machines can reach this address, so the settings must name the public URL and the circles: mount a file with them.
ENV CIRCLED_SERVER__LISTEN=0.0.0.0:8080 \
    CIRCLED_SERVER__ADMIN_LISTEN=127.0.0.1:8081 \
    CIRCLED_DISPATCH__EMBEDDED__DATA_DIR=/var/lib/circled \
    PATH=/usr/local/bin
EXPOSE 8080
# Everything that is kept.
VOLUME /var/lib/circled
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["circled", "health", "--config", "/etc/circled/circled.toml"]
ENTRYPOINT ["circled"]
CMD ["serve", "--config", "/etc/circled/circled.toml"]
