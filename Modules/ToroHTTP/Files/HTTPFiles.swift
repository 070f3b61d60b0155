public import ToroCore

/// Answers GET and HEAD with the files of a file system (RFC 9110 sections 8, 13 and 14).
///
///     let site = HTTPFiles(files)
///     try await HTTPServer { request in
///         request.path == "/time" ? time() : await site.respond(to: request)
///     }.serve(port)
///
/// A directory is answered with its `index.html`. Hidden files are served like others: what must
/// not be seen does not belong into the file system.
@Core public final class HTTPFiles<Files: FileSystem> {
    private let files: Files
    private let answers: FileAnswers

    /// A responder for `files`; with `listing`, also for the names in a directory without
    /// `index.html`. The bodies under way use about `memory` bytes, and 4 KiB each in any case.
    public init(_ files: Files, listing: Bool = false, memory: Int = 2 * 1_024 * 1_024) {
        self.files = files
        answers = FileAnswers(listing: listing, memory: memory)
    }

    /// The answer to `request`.
    ///
    /// This only asks the file system; what depends on the kind of file system is compiled for
    /// each, and all else once.
    public func respond(to request: HTTPRequest) async -> HTTPResponse {
        guard let path = answers.path(of: request) else { return answers.refusal(request) }
        var patience = Patience()
        while true {
            do throws(FileError) {
                return await answers.file(try await files.open(path), path, request)
            } catch {
                if await answers.waits(for: error, request, &patience) { continue }
                guard answers.lists(request, error) else { return answers.failure(error, request) }
            }
            break
        }
        do throws(FileError) {
            return answers.list(try await files.openDirectory(request.path), request.path)
        } catch {
            return answers.failure(error, request)
        }
    }
}
