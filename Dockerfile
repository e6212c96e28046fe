# The gateway as a container image: node and the compiled program, no shell, no npm.
#
#   docker build --build-arg SOURCE_DATE_EPOCH=0 --output type=image,name=ocm-webapp-gateway:0.1.0,rewrite-timestamp=true .
#
# Built so, the same sources give the same image. Both images that it is made from are named by digest; the tag tells a
# reader, and a robot that renews digests, what is meant. Distroless has no Node 24 for Debian 12 that is still renewed.
ARG NODE_IMAGE=node:24.21.0-trixie-slim@sha256:173f125896c3b47ddf056734c7ea789d04595a6a08769a8f78e0df642781fb66
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot@sha256:9eeb7f5887d0e239e78264b06f7f11d2e14be534050481803a9e4728fcdd278e

# What is built here is the same for every platform, so it is built on the builder's own.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package that we need has to run a script of its own to be installed.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund
RUN mkdir -m 700 data

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ocm-webapp-gateway" \
      org.opencontainers.image.description="A reverse proxy that serves Open Cloud Mesh webapp shares: any OCM server, any web application" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
WORKDIR /app
# Owned by root: the program cannot change itself.
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY LICENSE ./
# All that it writes: the database and the signing key. The rest of the file system may be read-only.
COPY --from=build --chown=65532:65532 /app/data /data
VOLUME /data
USER 65532:65532
EXPOSE 8080
# Of server.adminListen; set the variable where that is another address.
ENV HEALTH_URL=http://127.0.0.1:9090/healthz
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["/nodejs/bin/node", "--eval", "fetch(process.env.HEALTH_URL).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# The heap is small, and what goes through it is not: without these, V8 takes the buffers of large bodies for a heap that has
# grown, and looks through all of it ten times a second (docs/operating.md).
ENTRYPOINT ["/nodejs/bin/node", "--max-semi-space-size=8", "--heap-growing-percent=200", "dist/cli.js"]
CMD ["serve", "--config", "/etc/ocm-gateway/gateway.yaml"]
