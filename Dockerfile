# syntax=docker/dockerfile:1
# docker build -t circled . && docker run --rm -p 8080:8080 -v circled:/var/lib/circled -v ./circled.toml:/etc/circled/circled.toml:ro circled

FROM node:22-bookworm-slim AS console
WORKDIR /src/console
COPY console/package.json console/package-lock.json console/.npmrc ./
RUN npm ci
COPY clients/typescript/src ../clients/typescript/src
COPY console ./
RUN npm run build

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches ./benches
COPY config ./config
COPY crates ./crates
COPY src ./src
COPY console/files.txt ./console/
COPY --from=console /src/console/dist ./console/dist
# No image is without its web console.
ENV REQUIRE_CONSOLE=1
RUN cargo build --release --locked --bin circled && strip target/release/circled

FROM debian:bookworm-slim
# For rediss:// and wss://: whom to trust.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin circled \
    && install -d -o circled -m 0700 /var/lib/circled
COPY --from=build /src/target/release/circled /usr/local/bin/circled
USER circled
# Other machines can reach this address, so the settings must name the public URL and the circles: mount a file with them.
ENV CIRCLED_SERVER__LISTEN=0.0.0.0:8080 \
    CIRCLED_SERVER__ADMIN_LISTEN=127.0.0.1:8081 \
    CIRCLED_DISPATCH__EMBEDDED__DATA_DIR=/var/lib/circled
EXPOSE 8080
# Everything that is kept.
VOLUME /var/lib/circled
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["circled", "health", "--config", "/etc/circled/circled.toml"]
ENTRYPOINT ["circled"]
CMD ["serve", "--config", "/etc/circled/circled.toml"]
