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
    let files: Files
    private let listing: Bool
    private let budget: BlockBudget

    /// A responder for `files`; with `listing`, also for the names in a directory without
    /// `index.html`. The bodies under way use about `memory` bytes, and 4 KiB each in any case.
    public init(_ files: Files, listing: Bool = false, memory: Int = 2 * 1_024 * 1_024) {
        self.files = files
        self.listing = listing
        budget = BlockBudget(bytes: memory)
    }

    /// The answer to `request`.
    public func respond(to request: HTTPRequest) async -> HTTPResponse {
        switch request.method {
        case .get, .head: break
        case .other, .connect: return .explained(.notImplemented)
        default:
            var response = HTTPResponse.explained(.methodNotAllowed)
            response.add("Allow", "GET, HEAD")
            return response
        }
        let path = request.path.bytes
        do throws(FileError) {
            if path.last == ASCII.slash { return try await directory(request) }
            do throws(FileError) {
                return file(try await files.open(request.path), type: path, request)
            } catch {
                guard error == .isADirectory else { throw error }
                return redirect(request)
            }
        } catch {
            return .explained(HTTPFiles.status(error))
        }
    }

    /// The status that tells a client of `error`.
    private static func status(_ error: FileError) -> HTTPStatus {
        switch error {
        case .notFound, .notADirectory, .nameTooLong, .isADirectory: .notFound
        case .permissionDenied, .escapesRoot, .tooManyLinks: .forbidden
        case .invalidPath: .badRequest
        case .outOfMemory, .cancelled: .serviceUnavailable
        default: .internalServerError
        }
    }

    /// The answer for a path with a slash at its end.
    private func directory(_ request: HTTPRequest) async throws(FileError) -> HTTPResponse {
        let name: Path = "index.html"
        let index = request.path.appending(name.bytes)
        do throws(FileError) {
            return file(try await files.open(index), type: index.bytes, request)
        } catch {
            guard error == .notFound, listing else { throw error }
        }
        return list(try await files.openDirectory(request.path), request.path)
    }

    /// Sends the client to the same path with a slash behind it, for the links in an index to
    /// work. The path is put together from its names: `//host` would lead elsewhere.
    private func redirect(_ request: HTTPRequest) -> HTTPResponse {
        guard let names = try? request.path.components() else { return .explained(.badRequest) }
        var response = HTTPResponse.explained(.movedPermanently)
        response.begin("Location")
        response.head.append(ASCII.slash)
        for name in names {
            response.head.append(percentEncoding: Array(name))
            response.head.append(ASCII.slash)
        }
        if let query = request.query {
            response.head.append(0x3F)
            response.head.append(query)
        }
        response.end()
        return response
    }

    /// The answer with an open file, or a part of it.
    private func file(_ file: Files.File, type path: [UInt8], _ request: HTTPRequest)
        -> HTTPResponse
    {
        let attributes = file.attributes
        let validators = HTTPValidators(attributes, now: request.connection?.service.clock.wallTime)
        let plan = FilePlan(request, attributes.size, validators)
        var response: HTTPResponse
        switch plan {
        case .whole:
            response = content(.ok, file, 0..<attributes.size, type: path)
        case .part(let range):
            response = content(.partialContent, file, range, type: path)
            response.begin("Content-Range")
            response.head.append("bytes ")
            response.head.append(decimal: range.lowerBound)
            response.head.append(0x2D)
            response.head.append(decimal: range.upperBound - 1)
            response.head.append(ASCII.slash)
            response.head.append(decimal: attributes.size)
            response.end()
        case .unsatisfiable:
            file.close()
            response = .explained(.rangeNotSatisfiable)
            response.begin("Content-Range")
            response.head.append("bytes */")
            response.head.append(decimal: attributes.size)
            response.end()
        case .status(let status):
            file.close()
            response = .explained(status)
        }
        response.add("Accept-Ranges", "bytes")
        response.add("ETag", bytes: validators.entityTag)
        response.begin("Last-Modified")
        validators.lastModified.emit(into: &response.head)
        response.end()
        return response
    }

    private func content(
        _ status: HTTPStatus, _ file: Files.File, _ range: Range<UInt64>, type path: [UInt8]
    ) -> HTTPResponse {
        let blocks = FileBlocks(file, range, budget)
        var response = HTTPResponse(
            status, type: MediaType.of(path), length: range.upperBound - range.lowerBound
        ) { (writer) async throws(HTTPError) in
            if !range.isEmpty { try await blocks.send(to: writer) }
        }
        response.add("X-Content-Type-Options", "nosniff")
        return response
    }
}

/// What of a file is to be sent.
private enum FilePlan {
    case whole
    case part(Range<UInt64>)
    case unsatisfiable
    case status(HTTPStatus)

    /// The conditions first, then the range (RFC 9110 section 13.2.2).
    @Core init(_ request: HTTPRequest, _ size: UInt64, _ validators: HTTPValidators) {
        self = request.withHead { bytes in
            let fields = request.head.fields
            switch HTTPConditions(bytes, fields: fields, validators) {
            case .notModified: return .status(.notModified)
            case .failed: return .status(.preconditionFailed)
            case .proceed: break
            }
            var cursor = HTTPFieldCursor(offset: fields)
            guard request.method == .get, let value = cursor.next("range", in: bytes),
                cursor.next("range", in: bytes) == nil,
                HTTPConditions.allowRange(bytes, fields: fields, validators)
            else { return .whole }
            switch HTTPRange(bytes, value, size: size) {
            case .whole: return .whole
            case .part(let range): return .part(range)
            case .unsatisfiable: return .unsatisfiable
            }
        }
    }
}

extension HTTPValidators {
    /// The validators of a file: its tag changes with its identity, its time and its length.
    init(_ attributes: FileAttributes, now: WallTime?) {
        var tag: [UInt8] = [0x22]
        HTTPValidators.append(attributes.identity, to: &tag)
        tag.append(0x2D)
        HTTPValidators.append(UInt64(bitPattern: attributes.modified.seconds), to: &tag)
        tag.append(ASCII.dot)
        HTTPValidators.append(UInt64(attributes.modified.nanoseconds), to: &tag)
        tag.append(0x2D)
        HTTPValidators.append(attributes.size, to: &tag)
        tag.append(0x22)
        entityTag = tag
        // A time in the future must not be sent (section 8.8.2.1).
        let modified = attributes.modified.seconds
        lastModified = HTTPDate(seconds: now.map { min($0.seconds, modified) } ?? modified)
    }

    private static func append(_ number: UInt64, to tag: inout [UInt8]) {
        var shift: UInt64 = 64
        while shift > 4, number >> (shift - 4) == 0 { shift -= 4 }
        while shift > 0 {
            shift -= 4
            tag.append(ASCII.hexDigit(UInt8(truncatingIfNeeded: number >> shift)))
        }
    }
}
