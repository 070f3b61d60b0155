public import ToroCore
public import ToroHTTP

/// Serves the files of a folder over HTTP.
public struct StaticWebServer<Site: FileSystem, Port: Listener>: Microservice {
    let site: Site
    let port: Port

    /// A server for the files of `site`, to the clients of `port`.
    public init(site: Site, port: Port) {
        self.site = site
        self.port = port
    }

    public func run() async throws(HTTPServerError) {
        try await HTTPServer(files: site, listing: true).serve(port)
    }
}
