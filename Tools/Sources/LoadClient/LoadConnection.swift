import Glibc

/// One client of a load: asks for the same file again and again on one connection, and compares
/// every byte of every answer.
final class LoadConnection {
    private static let headLimit = 1 << 14

    let socket: ClientSocket
    private let request: [UInt8]
    private let body: [UInt8]
    /// What has come of the answer's head.
    private var head: [UInt8] = []
    /// How much of the body has come; nil while the head is not whole.
    private var received: Int?
    /// Whether an answer is due.
    private(set) var isBusy = false
    /// Whole answers.
    private(set) var answers = 0

    init(port: UInt16, request: [UInt8], body: [UInt8]) throws(ClientError) {
        socket = try ClientSocket(port: port)
        self.request = request
        self.body = body
    }

    /// Asks once more.
    func ask() throws(ClientError) {
        guard socket.send(request) else {
            throw ClientError("a request is not taken: errno \(errno)")
        }
        head.removeAll(keepingCapacity: true)
        received = nil
        isBusy = true
    }

    /// Takes what has come, through `buffer`. Returns how many bytes that were.
    func advance(_ buffer: inout [UInt8]) throws(ClientError) -> Int {
        switch socket.receive(into: &buffer, limit: 0) {
        case .nothing: return 0
        case .bytes(let count):
            try take(&buffer, count)
            return count
        case .end: throw ClientError("the connection ends \(place)")
        case .reset: throw ClientError("the connection is reset \(place)")
        }
    }

    private var place: String {
        guard isBusy else { return "between requests" }
        guard let received else { return "after \(head.count) bytes of a head" }
        return "after \(received) of \(body.count) bytes of a body"
    }

    private func take(_ buffer: inout [UInt8], _ count: Int) throws(ClientError) {
        guard isBusy else { throw ClientError("\(count) bytes that nobody asked for") }
        var start = 0
        if received == nil {
            let before = head.count
            head += buffer[..<count]
            guard let end = LoadConnection.endOfHead(head) else {
                guard head.count < LoadConnection.headLimit else {
                    throw ClientError("an endless head")
                }
                return
            }
            try checkHead(end)
            start = end - before
            received = 0
        }
        try takeBody(buffer, start, count - start)
    }

    private func takeBody(
        _ buffer: [UInt8], _ start: Int, _ count: Int
    ) throws(ClientError) {
        let at = received ?? 0
        guard count <= body.count - at else {
            throw ClientError("\(count - (body.count - at)) bytes behind a body")
        }
        // SAFETY: both ranges are within their arrays.
        let isSame = unsafe buffer.withUnsafeBytes { here in
            unsafe body.withUnsafeBytes { there in
                guard let here = here.baseAddress, let there = there.baseAddress else {
                    return count == 0
                }
                return unsafe memcmp(here + start, there + at, count) == 0
            }
        }
        guard isSame else { throw ClientError("wrong bytes behind byte \(at) of a body") }
        received = at + count
        if at + count == body.count {
            answers += 1
            isBusy = false
        }
    }

    private func checkHead(_ end: Int) throws(ClientError) {
        let text = String(decoding: head[..<end], as: UTF8.self).lowercased()
        let lines = text.split(separator: "\r\n")
        guard lines.first?.hasPrefix("http/1.1 200 ") == true else {
            throw ClientError("the answer is \(lines.first ?? "nothing")")
        }
        guard lines.contains("content-length: \(body.count)") else {
            throw ClientError("not the length \(body.count): \(text)")
        }
        if lines.contains("connection: close") {
            throw ClientError("the connection does not stay")
        }
    }

    /// Where the empty line ends; nil if it has not come.
    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        var run = 0
        for (index, byte) in bytes.enumerated() {
            // CR LF CR LF: a carriage return at an even place, a line feed at an odd one.
            if byte == (run & 1 == 0 ? 13 : 10) {
                run += 1
                if run == 4 { return index + 1 }
            } else {
                run = byte == 13 ? 1 : 0
            }
        }
        return nil
    }
}
