public import ToroCore

/// An HTTP/1.1 server (RFC 9110, RFC 9112).
///
///     try await HTTPServer(files: site).serve(port)
///
///     try await HTTPServer { request in
///         request.path == "/health" ? HTTPResponse("fine\n") : HTTPResponse(.notFound)
///     }.serve(port)
///
/// No TLS, no HTTP/2, no compression: a proxy in front has those.
@Core public struct HTTPServer {
    /// Answers a request. It may throw to have the server answer for it; see ``HTTPError``.
    public typealias Handler = @Core (HTTPRequest) async throws(HTTPError) -> HTTPResponse

    private let limits: HTTPLimits
    private let clock: any Timekeeper
    private let respond: Handler
    /// Whether there is memory for so many bytes more: a test has its own say.
    var hasMemory: @Core (Int) -> Bool = { IOBuffer.hasMemory(for: $0) }

    /// A server that has `respond` answer each request.
    public init(
        limits: HTTPLimits = HTTPLimits(), clock: any Timekeeper = Core.clock,
        _ respond: @escaping Handler
    ) {
        self.limits = limits
        self.clock = clock
        self.respond = respond
    }

    /// A server for the files of `files`; with `listing`, also for the names in a directory that
    /// has no `index.html`.
    public init<Files: FileSystem>(
        files: Files, listing: Bool = false, limits: HTTPLimits = HTTPLimits(),
        clock: any Timekeeper = Core.clock
    ) {
        let responder = HTTPFiles(files, listing: listing)
        self.init(limits: limits, clock: clock) { (request) async throws(HTTPError) in
            await responder.respond(to: request)
        }
    }

    /// Serves the connections of `port`, each in a task of its own, until the port is closed;
    /// then waits for the exchanges under way. A connection that fails ends alone.
    ///
    /// Throws `.cancelled` after all connections were closed because the task was cancelled, and
    /// `.listener` if the port fails.
    public func serve<Port: Listener>(_ port: Port) async throws(HTTPServerError) {
        let service = HTTPService(limits, clock, hasMemory: hasMemory, respond)
        do throws(ListenError) {
            while true {
                await service.waitForRoom()
                let stream = try await port.accept()
                if await service.makeRoom() { service.serve(stream) } else { stream.close() }
            }
        } catch {
            service.stop()
            await service.waitForAll()
            switch error {
            case .closed: return
            case .cancelled: throw .cancelled
            default: throw .listener(error)
            }
        }
    }
}
