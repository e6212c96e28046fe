import { AsyncLocalStorage } from 'node:async_hooks'
import {
  type Context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Span, Tracing } from '../core/tracing.ts'

const NAME = 'ocm-webapp-gateway'

/**
 * Tracing over OpenTelemetry, set up by its standard environment variables; spans go out as OTLP over HTTP (protobuf).
 *
 * @throws {Error} when a variable has a value that we do not serve
 */
export function startOpenTelemetry(env: Readonly<Record<string, string | undefined>>): Tracing {
  checkProtocol(env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL ?? 'http/protobuf')
  const provider = new TracerProvider({
    sampler: samplerOf(env),
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': NAME }))
      .merge(detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  })
  const tracer = provider.getTracer(NAME)
  const propagator = new W3CTraceContextPropagator()
  const running = new AsyncLocalStorage<Context>()
  const now = () => running.getStore() ?? ROOT_CONTEXT

  function spanIn(context: Context, span: OtelSpan): Span {
    return {
      run: (work) => running.run(trace.setSpan(context, span), work),
      end(attributes, error) {
        if (attributes !== undefined) span.setAttributes(attributes)
        if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: (error as Error).message })
        span.end()
      },
    }
  }

  return {
    serving(headers, attributes) {
      const caller = propagator.extract(ROOT_CONTEXT, headers, defaultTextMapGetter)
      return spanIn(caller, tracer.startSpan('request', { kind: SpanKind.SERVER, attributes }, caller))
    },
    asking(name, attributes) {
      const context = now()
      return spanIn(context, tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, context))
    },
    headers() {
      const carrier: Record<string, string> = {}
      propagator.inject(now(), carrier, defaultTextMapSetter)
      return carrier
    },
    describe: (name, attributes) => void trace.getSpan(now())?.updateName(name).setAttributes(attributes),
    past: (name, seconds) => tracer.startSpan(name, { startTime: Date.now() - seconds * 1000 }, now()).end(),
    close: () => provider.shutdown(),
  }
}

function checkProtocol(protocol: string): void {
  if (protocol !== 'http/protobuf')
    throw new Error(`OTEL_EXPORTER_OTLP_PROTOCOL is ${protocol} (must be http/protobuf)`)
}

/** `OTEL_TRACES_SAMPLER` and its argument (OpenTelemetry SDK environment variables). */
function samplerOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: argument }: NodeJS.ProcessEnv): Sampler {
  const [, parentBased, kind] = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(name ?? DEFAULT) ?? []
  const ratio = Number(argument ?? 1)
  if (kind === undefined) throw new Error(`OTEL_TRACES_SAMPLER is ${name} (must be such as ${DEFAULT})`)
  if (!(ratio >= 0 && ratio <= 1)) throw new Error(`OTEL_TRACES_SAMPLER_ARG is ${argument} (must be from 0 to 1)`)
  const samplers = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  }
  const sampler = samplers[kind as keyof typeof samplers]()
  return parentBased === undefined ? sampler : new ParentBasedSampler({ root: sampler })
}

const DEFAULT = 'parentbased_always_on'
