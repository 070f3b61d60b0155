public import ToroCore

/// Answers requests with the files of a file system.
@Core public struct HTTPFiles<Files: FileSystem> {
    let files: Files
    public init(_ files: Files, listing: Bool = false) { self.files = files }
    public func respond(to request: HTTPRequest) async -> HTTPResponse {
        return HTTPResponse(.notFound)
    }
}
