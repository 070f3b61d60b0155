import Foundation

/// A package whose service says the words that a module of its own has.
final class TestPackage {
    /// How it says them.
    enum Service {
        /// On the console, and ends.
        case console
        /// To who asks it by HTTP.
        case web
    }

    private let folder: TestFolder
    private let service: Service
    /// The module that has the words.
    private let module: String
    /// Its folder, whose name has a space.
    var path: String { folder.path + "/my talk" }

    /// Makes a package that says "first".
    init(_ service: Service, module: String = "Words") throws {
        folder = try TestFolder()
        self.service = service
        self.module = module
        var units = ["ToroCore", "ToroMicroVM"]
        var ports = ""
        if service == .web {
            units += ["ToroHTTP", "ToroVsock"]
            ports = #", "ports": [{"guest": 80, "purpose": "talk"}]"#
        }
        let products = units.map { ".product(name: \"\($0)\", package: \"toro\")" }
        try write(
            """
            // swift-tools-version: 6.2
            import PackageDescription
            let package = Package(
                name: "Talk", dependencies: [.package(name: "toro", path: "\(Images.root)")],
                targets: [
                    .target(name: "\(module)"),
                    .executableTarget(
                        name: "TalkVM",
                        dependencies: ["\(module)", \(products.joined(separator: ", "))]),
                ],
                swiftLanguageModes: [.v6])
            """, "Package.swift")
        try write(#"{"product": "TalkVM"\#(ports)}"#, "toro.json")
        try say("first")
        try serve()
    }

    /// Has it say something else.
    func say(_ word: String) throws {
        try write(
            "public func words() -> StaticString { \"\(word)\" }\n",
            "Sources/\(module)/Words.swift")
    }

    /// Has its service say the words.
    func serve() throws {
        switch service {
        case .console: try serve("print(words())")
        case .web:
            try serve(
                """
                try await HTTPServer { (_) async throws(HTTPError) in HTTPResponse(words()) }
                    .serve(port)
                """)
        }
    }

    /// Has its service do something; a web service has a `port`.
    func serve(_ body: String) throws {
        let (imports, head, failure, made) =
            switch service {
            case .console: ("", "struct Talk: Microservice {", "Never", "Talk()")
            case .web:
                (
                    "import ToroHTTP\nimport ToroVsock\n",
                    "struct Talk<Port: Listener>: Microservice { let port: Port",
                    "HTTPServerError", "Talk(port: try vm.vsock().listen(80))"
                )
            }
        try write(
            """
            \(imports)import ToroCore
            import ToroMicroVM
            import \(module)

            \(head)
                func run() async throws(\(failure)) { \(body) }
            }
            @main struct Appliance: MicroVMAppliance {
                static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
                    \(made)
                }
            }
            """, "Sources/TalkVM/Appliance.swift")
    }

    /// Saves as most editors do: under another name first.
    func write(_ text: String, _ name: String) throws {
        let file = path + "/" + name
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent,
            withIntermediateDirectories: true)
        try text.write(toFile: file, atomically: true, encoding: .utf8)
    }

    /// Defines the condition LOUD for the module with the words.
    func defineLoud() throws {
        let manifest = try String(contentsOfFile: path + "/Package.swift", encoding: .utf8)
        try write(
            manifest.replacingOccurrences(
                of: ".target(name: \"\(module)\")",
                with: ".target(name: \"\(module)\", swiftSettings: [.define(\"LOUD\")])"),
            "Package.swift")
    }
}
