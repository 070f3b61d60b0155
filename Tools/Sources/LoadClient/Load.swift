import Glibc

/// Load for an HTTP server of this host: some connections that stay, each with one request at a
/// time, all for one file whose bytes are known.
public struct Load {
    /// The server's port on the loopback address.
    public var port: UInt16
    /// What is asked for.
    public var target: String
    /// What must come.
    public var body: [UInt8]
    /// How many connections there are at a time.
    public var connections: Int
    /// For how long requests are made, in seconds; what was begun then is finished.
    public var seconds: Double
    /// For how long at most no byte may move on any connection, in seconds. A busy machine needs
    /// more than a second, when each of a server's parts waits for a processor.
    public var silence: Double

    /// Load with those figures.
    public init(
        port: UInt16, target: String, body: [UInt8], connections: Int, seconds: Double,
        silence: Double = 1
    ) {
        self.port = port
        self.target = target
        self.body = body
        self.connections = connections
        self.seconds = seconds
        self.silence = silence
    }

    /// What became of it.
    public struct Outcome: Sendable {
        /// Whole answers, every byte as it should be.
        public var answers = 0
        /// From the first request to the last answer, in seconds.
        public var seconds = 0.0
        /// The longest time for which nothing moved, in seconds.
        public var longestSilence = 0.0
        /// What went wrong, in words; nothing if all went well.
        public var faults: [String] = []

        /// Whole answers in a second.
        public var rate: Double { seconds > 0 ? Double(answers) / seconds : 0 }
    }

    /// How long one look for bytes takes, in milliseconds. Silence is counted in looks that found
    /// nothing: when this process itself has to wait for a processor, nothing is counted.
    private static let look: Int32 = 20
    private static let faultLimit = 8

    /// Makes the load, on the calling thread.
    public func run() -> Outcome {
        var outcome = Outcome()
        let request = Array("GET \(target) HTTP/1.1\r\nHost: load\r\n\r\n".utf8)
        let start = ContinuousClock.now
        var clients: [LoadConnection] = []
        for _ in 0..<connections {
            do throws(ClientError) {
                let client = try LoadConnection(port: port, request: request, body: body)
                try client.ask()
                clients.append(client)
            } catch {
                outcome.faults.append("\(error)")
                return outcome
            }
        }
        exchange(clients, until: start + .seconds(seconds), &outcome)
        outcome.seconds = (ContinuousClock.now - start) / .seconds(1)
        outcome.answers = clients.reduce(0) { $0 + $1.answers }
        return outcome
    }

    private func exchange(
        _ clients: [LoadConnection], until end: ContinuousClock.Instant, _ outcome: inout Outcome
    ) {
        var waits = clients.map {
            pollfd(fd: $0.socket.file, events: Int16(POLLIN), revents: 0)
        }
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        var busy = clients.count
        var silence = 0.0
        while busy > 0, outcome.faults.count < Load.faultLimit {
            // SAFETY: the length is the array's.
            let found = unsafe poll(&waits, nfds_t(waits.count), Load.look)
            let isOver = ContinuousClock.now >= end
            var moved = 0
            for index in waits.indices where found > 0 && waits[index].revents != 0 {
                do throws(ClientError) {
                    moved += try clients[index].advance(&buffer)
                    if clients[index].isBusy { continue }
                    if !isOver {
                        try clients[index].ask()
                        continue
                    }
                } catch {
                    outcome.faults.append("\(error)")
                }
                waits[index].fd = -1
                busy -= 1
            }
            if found == 0 { silence += Double(Load.look) / 1000 }
            if moved > 0 { silence = 0 }
            outcome.longestSilence = max(outcome.longestSilence, silence)
            if silence > self.silence {
                outcome.faults.append(
                    "nothing moved for \(self.silence) s, \(busy) answers are due")
                return
            }
        }
    }
}
