public import ToroCore
public import ToroHTTP

/// Serves the files of a folder over HTTP.
public struct StaticWebServer<Site: FileSystem, Port: Listener>: Microservice {
    let site: Site
    let port: Port
    let listing: Bool

    /// A server for the files of `site`, to the clients of `port`; with `listing`, also for the
    /// names in a folder that has no `index.html`.
    public init(site: Site, port: Port, listing: Bool = false) {
        self.site = site
        self.port = port
        self.listing = listing
    }

    /// Serves until the port fails; see ``ToroCore/Microservice``.
    public func run() async throws(HTTPServerError) {
        try await HTTPServer(files: site, listing: listing).serve(port)
    }
}
