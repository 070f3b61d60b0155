import Foundation
import Launcher
import LoadClient
import Testing
import ToroTesting

/// `toro run --watch`: what is saved is served, and no client is lost on the way.
@Suite(.serialized) struct WatchTests {
    /// Clients that ask without end, on a thread of their own.
    private final class Clients: @unchecked Sendable {
        // SAFETY (@unchecked): all is only touched under the condition's lock.
        private let condition = NSCondition()
        private var isOver = false
        private var answers = 0
        private var last = ""
        private var failures: [String] = []
        private var running = 0

        /// One that connects for each question, and one that stays and connects again when the
        /// server has ended its connection between two questions.
        init(_ port: UInt16) {
            for stays in [false, true] {
                running += 1
                Thread.detachNewThread { [self] in
                    var socket: ClientSocket?
                    while !condition.withLock({ isOver }) {
                        let isOld = socket != nil
                        let answer = Clients.ask(port, &socket, stays: stays)
                        if !stays || answer == nil { socket = nil }
                        // What a client may do anew is a question that met the end of a rest.
                        if answer == nil, isOld { continue }
                        condition.withLock {
                            answers += 1
                            if let answer { last = answer } else { failures.append("no answer") }
                            condition.broadcast()
                        }
                        usleep(stays ? 120_000 : 4_000)
                    }
                    condition.withLock {
                        running -= 1
                        condition.broadcast()
                    }
                }
            }
        }

        /// The body of a whole answer.
        private static func ask(
            _ port: UInt16, _ socket: inout ClientSocket?, stays: Bool
        ) -> String? {
            do {
                let own = try socket ?? ClientSocket(port: port)
                socket = own
                let rest = stays ? "" : "Connection: close\r\n"
                guard own.send("GET / HTTP/1.1\r\nHost: h\r\n\(rest)\r\n", limit: Patience.seconds)
                else {
                    return nil
                }
                var bytes: [UInt8] = []
                var buffer = [UInt8](repeating: 0, count: 4096)
                while true {
                    let text = String(decoding: bytes, as: UTF8.self)
                    if let end = text.range(of: "\r\n\r\n")?.upperBound {
                        guard text.hasPrefix("HTTP/1.1 200 "),
                            let mark = text.range(of: "Content-Length: ")?.upperBound,
                            let length = Int(text[mark...].prefix { $0.isNumber })
                        else { return nil }
                        if text[end...].utf8.count == length { return String(text[end...]) }
                    }
                    guard
                        case .bytes(let count) = own.receive(into: &buffer, limit: Patience.seconds)
                    else {
                        return nil
                    }
                    bytes += buffer[..<count]
                }
            } catch {
                return nil
            }
        }

        /// Waits for an answer with that word; false if none comes in time.
        func hear(_ word: String) -> Bool { wait { last == word } }

        /// Waits for so many more answers.
        func ask(_ count: Int) -> Bool {
            let goal = condition.withLock { answers + count }
            return wait { answers >= goal }
        }

        private func wait(_ isThere: () -> Bool) -> Bool {
            let limit = Date(timeIntervalSinceNow: Patience.seconds)
            return condition.withLock {
                while !isThere() { if !condition.wait(until: limit) { return isThere() } }
                return true
            }
        }

        /// Ends them; what went wrong.
        func end() -> [String] {
            condition.withLock { isOver = true }
            #expect(wait { running == 0 })
            return condition.withLock { failures }
        }
    }

    private func count(_ words: String, in run: ToroProcess) -> Int {
        run.output.components(separatedBy: words).count - 1
    }

    /// Saves a word and waits for it. A guest that a busy host gives no time to start is given up, and
    /// the next save boots another.
    private func change(
        _ package: TestPackage, to word: String, _ clients: Clients, _ run: ToroProcess
    ) throws {
        for _ in 0..<2 {
            try package.say(word)
            if clients.hear(word) { return }
        }
        Issue.record("\(word) is not served: \(run.output)")
    }

    @Test func whatIsSavedIsServed() throws {
        let package = try TestPackage(.web)
        // Not within the time that a run has for what it says next.
        _ = try ImageBuild(root: Images.root, configuration: .debug).build(package: package.path)
        let run = try ToroProcess(["run", package.path, "--watch", "--publish", "0:80"])
        try #require(run.waits(for: "(talk)"), "\(run.output)")
        let start = try #require(run.output.range(of: "ready: 127.0.0.1:")?.upperBound)
        let port = try #require(UInt16(run.output[start...].prefix { $0.isNumber }))
        let clients = Clients(port)
        #expect(clients.hear("first"), "\(run.output)")

        try change(package, to: "second", clients, run)
        #expect(run.waits(for: "s after the change"), "\(run.output)")

        // A mistake is shown, and the guest before serves on.
        try package.write(
            "public func words() -> StaticString { 3 }\n", "Sources/Words/Words.swift")
        #expect(run.waits(for: "Words.swift:1:"), "\(run.output)")
        #expect(run.waits(for: "The guest before goes on."), "\(run.output)")
        #expect(clients.ask(50) && clients.hear("second"))
        try change(package, to: "third", clients, run)

        // A guest that ends before it serves is no successor.
        try package.serve("")
        #expect(run.waits(for: "ended with status 0 before it served"), "\(run.output)")
        #expect(clients.ask(50) && clients.hear("third"))

        // What is saved at once is built at once: that is two files, one of them twice.
        let before = count("booting", in: run)
        try package.serve()
        try package.say("fourth")
        try package.say("fifth")
        #expect(clients.hear("fifth"), "\(run.output)")
        let boots = count("booting", in: run) - before
        #expect(boots <= 2, "\(run.output)")

        // So is what the image is built with, and a file that was not there before.
        try package.write(
            "#if LOUD\npublic func more() -> StaticString { \"SIXTH\" }\n#endif\n",
            "Sources/Words/More/More.swift")
        try package.write(
            "public func words() -> StaticString { more() }\n", "Sources/Words/Words.swift")
        try package.defineLoud()
        #expect(clients.hear("SIXTH"), "\(run.output)")

        #expect(clients.end() == [])
        let parts = run.parts
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
        for part in parts { #expect(!ToroProcess.isAlive(part.pid), "\(part.name)") }
        // SwiftPM's own are not ours.
        let files = try run.files.filter { $0.hasPrefix("toro") }
        #expect(files == [])
    }

    /// A guest that does not listen in its time has its turn when it does: a busy host may have given
    /// it none.
    @Test func aGuestThatIsLateHasItsTurn() throws {
        let package = try TestPackage(.web)
        _ = try ImageBuild(root: Images.root, configuration: .debug).build(package: package.path)
        let run = try ToroProcess(
            ["run", package.path, "--watch", "--publish", "0:80", "--ready-time", "1"])
        try #require(run.waits(for: "(talk)"), "\(run.output)")
        let start = try #require(run.output.range(of: "ready: 127.0.0.1:")?.upperBound)
        let port = try #require(UInt16(run.output[start...].prefix { $0.isNumber }))
        let clients = Clients(port)
        #expect(clients.hear("first"), "\(run.output)")
        let appliance = "Sources/TalkVM/Appliance.swift"
        let text = try String(contentsOfFile: package.path + "/" + appliance, encoding: .utf8)
        try package.write(
            text.replacingOccurrences(
                of: "Talk(port: try vm.vsock().listen(80))",
                with: """
                    let vsock = try vm.vsock()
                    let wait = Waiter<Bool>()
                    _ = Core.clock.schedule(at: Core.clock.now + .seconds(5)) { wait.resume(true) }
                    _ = await wait.wait()
                    return Talk(port: try vsock.listen(80))
                    """), appliance)
        try package.say("second")
        #expect(run.waits(for: "does not listen on its port 80 yet"), "\(run.output)")
        #expect(clients.hear("second"), "\(run.output)")
        #expect(clients.end() == [])
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    /// Whether it is shown with its control sequences or not.
    @Test func onlyAPackageCanBeWatched() throws {
        let run = try ToroProcess(["run", try Images.probe().path, "--watch", "--raw"])
        #expect(run.status() == 64, "\(run.output)")
        #expect(run.output.contains("--watch takes a package's folder"), "\(run.output)")
    }
}
