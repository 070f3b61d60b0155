import ToroCore
import ToroHTTP
import ToroMicroVM
import ToroVirtioFS
import ToroVsock

/// The web server of Samples/StaticWebServer that also tells how its machine is doing.
struct WebProbe<Site: FileSystem, Port: Listener>: Microservice {
    let site: Site
    let port: Port
    let limits: HTTPLimits
    let report: @Core () -> [UInt8]

    func run() async throws(HTTPServerError) {
        let files = HTTPFiles(site)
        let statistics = Array("/.statistics".utf8)
        let crash = Array("/.crash".utf8)
        let echo = Array("/.echo".utf8)
        try await HTTPServer(limits: limits) { (request) async throws(HTTPError) in
            if request.path.bytes == statistics {
                return HTTPResponse(type: "text/plain", bytes: report())
            }
            if request.path.bytes == echo { return WebProbe.echo(request) }
            if request.path.bytes == crash { await WebProbe.first() }
            return await files.respond(to: request)
        }.serve(port)
    }

    /// Sends a body back while it arrives.
    static func echo(_ request: HTTPRequest) -> HTTPResponse {
        HTTPResponse(type: "application/octet-stream", length: request.announcedLength) {
            (out) async throws(HTTPError) in
            while let part = try await request.nextBytes() { _ = try await out.write(part) }
        }
    }

    /// Three calls deep, each awaited, and then a trap.
    @inline(never) static func first() async { await second() }

    @inline(never) static func second() async {
        await Task.yield()
        await third()
    }

    @inline(never) static func third() async {
        await Task.yield()
        let nothing: [Int] = []
        if nothing[index()] == 0 { print("unreachable") }
    }

    @inline(never) static func index() -> Int { 3 }
}

@main struct Appliance: MicroVMAppliance {
    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
        let site = try await vm.virtioFS(tag: "site")
        let driver = try vm.vsock(bufferAllocation: credit(vm))
        let port = try driver.listen(80)
        return WebProbe(site: site, port: port, limits: limits(vm)) {
            var text: [UInt8] = []
            func add(_ name: StaticString, _ value: Int) {
                text += Path(stringLiteral: name).bytes + Array((" " + String(value) + "\n").utf8)
            }
            let figures = vm.statistics
            add("bytes", figures.liveBytes)
            add("objects", figures.liveObjects)
            add("copied", Int(truncatingIfNeeded: figures.copiedBytes))
            add("halts", Int(truncatingIfNeeded: figures.halts))
            add("interrupts", Int(truncatingIfNeeded: figures.interrupts))
            add("late", Int(truncatingIfNeeded: figures.lateNotifications))
            add("jobs", Int(truncatingIfNeeded: figures.jobs))
            add("connections", driver.connectionCount)
            add("requests", site.peakRequestsInFlight)
            add("uptime", Int(truncatingIfNeeded: Core.clock.now.nanoseconds))
            return text
        }
    }

    /// What `--env CREDIT=BYTES` says.
    private static func credit(_ vm: MicroVM) -> UInt32 {
        UInt32(truncatingIfNeeded: number("CREDIT", vm) ?? 64 << 10)
    }

    /// Large bodies, and the times in seconds that `--env PATIENCE=SECONDS` gives to a head and
    /// between requests, and `--env SENDTIME=SECONDS` to a client that takes nothing.
    private static func limits(_ vm: MicroVM) -> HTTPLimits {
        var limits = HTTPLimits()
        limits.bodyBytes = 1 << 27
        if let seconds = number("PATIENCE", vm) {
            (limits.headTime, limits.idleTime) = (.seconds(seconds), .seconds(seconds))
        }
        if let seconds = number("SENDTIME", vm) { limits.sendTime = .seconds(seconds) }
        return limits
    }

    private static func number(_ name: String, _ vm: MicroVM) -> UInt64? {
        vm.environment(name)?.utf8.reduce(0) { $0 &* 10 &+ UInt64($1 &- 0x30) }
    }
}
