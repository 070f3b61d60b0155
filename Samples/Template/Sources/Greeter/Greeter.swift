public import ToroCore
public import ToroHTTP

/// Greets by name: `GET /Ada` is answered with the words of the file `greeting.txt` and the name.
public struct Greeter<Texts: FileSystem, Port: Listener>: Microservice {
    let texts: Texts
    let port: Port
    let clock: any Timekeeper

    /// A greeter that takes its words from `texts` and its callers from `port`.
    public init(texts: Texts, port: Port, clock: any Timekeeper = Core.clock) {
        self.texts = texts
        self.port = port
        self.clock = clock
    }

    /// Serves until the port fails; see ``ToroCore/Microservice``.
    public func run() async throws(HTTPServerError) {
        try await HTTPServer(clock: clock) { request throws(HTTPError) in
            try await greet(request)
        }.serve(port)
    }

    private func greet(_ request: HTTPRequest) async throws(HTTPError) -> HTTPResponse {
        let name = request.path.bytes.dropFirst()
        guard !name.isEmpty else {
            return HTTPResponse("Who is there? Ask for /NAME.\n", status: .notFound)
        }
        var answer: [UInt8]
        do throws(FileError) {
            answer = try await texts.contents(of: "greeting.txt", limit: 1_000)
        } catch {
            return HTTPResponse("I am lost for words.\n", status: .serviceUnavailable)
        }
        answer += Array(", ".utf8) + name + Array("!\n".utf8)
        return HTTPResponse(type: "text/plain; charset=utf-8", bytes: answer)
    }
}
