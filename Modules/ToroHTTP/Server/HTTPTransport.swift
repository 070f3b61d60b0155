import ToroCore

/// A byte stream behind a class, so that all of the server but this is compiled once and not for
/// each kind of stream, and a handler need not name the kind. One indirect call for each buffer.
@Core protocol HTTPTransport: AnyObject {
    func receive() async throws(StreamError) -> IOBuffer?
    func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError>
    func send(_ head: consuming IOBuffer, _ body: consuming IOBuffer) async
        -> Completed<StreamError>
    func finish() async throws(StreamError)
    func close()
}

/// The transport over any byte stream.
@Core final class StreamTransport<Stream: ByteStream>: HTTPTransport {
    private let stream: Stream

    init(_ stream: Stream) { self.stream = stream }

    func receive() async throws(StreamError) -> IOBuffer? { try await stream.receive() }

    func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        await stream.send(buffer)
    }

    func send(
        _ head: consuming IOBuffer, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        await stream.send(head, body)
    }

    func finish() async throws(StreamError) { try await stream.finish() }

    func close() { stream.close() }
}
