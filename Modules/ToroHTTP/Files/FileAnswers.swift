import ToroCore

/// Makes responses of open files and of file errors.
@Core final class FileAnswers {
    private let listing: Bool
    private let budget: BlockBudget

    init(listing: Bool, memory: Int) {
        self.listing = listing
        budget = BlockBudget(bytes: memory)
    }

    /// The file to open for `request`; nil if its method is not for files.
    func path(of request: HTTPRequest) -> Path? {
        guard request.method == .get || request.method == .head else { return nil }
        let name: Path = "index.html"
        return isDirectory(request) ? request.path.appending(name.bytes) : request.path
    }

    private func isDirectory(_ request: HTTPRequest) -> Bool {
        request.path.bytes.last == ASCII.slash
    }

    /// The answer to a method that is not for files.
    func refusal(_ request: HTTPRequest) -> HTTPResponse {
        if request.method == .other { return .explained(.notImplemented) }
        let response = HTTPResponse.explained(.methodNotAllowed)
        response.add("Allow", "GET, HEAD")
        return response
    }

    /// Waits for what is scarce; false if that does not help.
    func waits(
        for error: FileError, _ request: HTTPRequest, _ patience: inout Patience
    ) async -> Bool {
        guard let service = request.connection?.service else { return false }
        return await patience.wait(for: error, service)
    }

    /// Whether the names of the directory are to be shown after its index could not be opened.
    func lists(_ request: HTTPRequest, _ error: FileError) -> Bool {
        listing && isDirectory(request) && error == .notFound
    }

    /// The answer when the file cannot be opened.
    @inline(never) func failure(_ error: FileError, _ request: HTTPRequest) -> HTTPResponse {
        if error == .isADirectory, !isDirectory(request) { return redirect(request) }
        let status: HTTPStatus =
            switch error {
            case .notFound, .notADirectory, .nameTooLong, .isADirectory: .notFound
            case .permissionDenied, .escapesRoot, .tooManyLinks: .forbidden
            case .invalidPath: .badRequest
            case .outOfMemory, .tooManyOpenFiles, .cancelled: .serviceUnavailable
            default: .internalServerError
            }
        return .explained(status)
    }

    /// Sends the client to the same path with a slash behind it, for the links in an index to
    /// work. The path is put together without its empty names: `//host` would lead elsewhere.
    private func redirect(_ request: HTTPRequest) -> HTTPResponse {
        let response = HTTPResponse.explained(.movedPermanently)
        response.begin("Location")
        response.head.append(ASCII.slash)
        var isAfterSlash = true
        for byte in request.path.bytes {
            let isSlash = byte == ASCII.slash
            if isSlash && isAfterSlash { continue }
            response.head.append(percentEncoding: byte)
            isAfterSlash = isSlash
        }
        response.head.append(ASCII.slash)
        if let query = request.query {
            response.head.append(0x3F)
            response.head.append(query)
        }
        response.end()
        return response
    }

    /// The answer with an open file, or a part of it. Length, entity tag and bytes are of one
    /// version, also for a HEAD and a 304: the file's attributes are asked for after it was opened,
    /// and again when all was read.
    ///
    /// One question is enough for a file of one block: the attributes from opening it may be old,
    /// but if they hold after the reading they held all the time. If they do not, the answer is made
    /// anew, as nothing of it has gone out. A longer file has two, and its last block is held back.
    func file(
        _ file: any OpenFile, _ path: Path, _ request: HTTPRequest
    ) async -> HTTPResponse {
        guard let connection = request.connection else {
            return .explained(.serviceUnavailable)
        }
        let service = connection.service
        service.reduceClaim(connection)
        do throws(FileError) {
            var version = FileVersion(file, service.clock)
            for _ in 0..<FileAnswers.attempts {
                let validators = HTTPValidators(version.attributes, now: service.clock.wallTime)
                let plan = FilePlan(request, version.attributes.size, validators)
                if !version.isSure, !(plan.fitsOneBlock && version.isSettled) {
                    guard try await version.confirm(file, service) else { continue }
                }
                guard let range = plan.body else {
                    file.close()
                    return response(plan, nil, version.attributes, validators, path)
                }
                let blocks = FileBlocks(file, version.attributes, range, budget, service)
                await blocks.begin()
                if let newVersion = blocks.newVersion {
                    version.update(newVersion)
                    continue
                }
                if let status = blocks.failure?.status {
                    file.close()
                    return .explained(status)
                }
                // Memory may be so short that the block was too small for all of it.
                if !blocks.isWhole, !version.isSure {
                    guard try await version.confirm(file, service) else { continue }
                }
                return response(plan, blocks, version.attributes, validators, path)
            }
        } catch {
            file.close()
            return failure(error, request)
        }
        // It changes faster than it can be read.
        file.close()
        return .explained(.serviceUnavailable)
    }

    /// How often an answer is made before a file counts as one that never rests.
    private static var attempts: Int { 8 }

    /// The response to `plan`, with the file's bytes from `blocks`; there are none to a HEAD.
    ///
    /// Not inlined, as the other steps of `file` that do not wait: what follows a wait is compiled
    /// once for each wait that may have been the last.
    @inline(never) private func response(
        _ plan: FilePlan, _ blocks: FileBlocks?, _ attributes: FileAttributes,
        _ validators: HTTPValidators, _ path: Path
    ) -> HTTPResponse {
        let response: HTTPResponse
        if let range = plan.range {
            response = HTTPResponse(plan.status)
            response.begin("Content-Type")
            MediaType.emit(of: path.bytes, into: response.head)
            response.end()
            response.body = .produced(length: UInt64(range.count)) {
                (writer) async throws(HTTPError) in
                if let blocks { try await blocks.send(to: writer) }
            }
            response.readsRequest = false
            response.add("X-Content-Type-Options", "nosniff")
        } else {
            response = .explained(plan.status)
        }
        addContentRange(plan, attributes.size, to: response)
        response.add("Accept-Ranges", "bytes")
        response.begin("ETag")
        response.head.append(validators.entityTag)
        response.end()
        response.begin("Last-Modified")
        validators.lastModified.emit(into: response.head)
        response.end()
        return response
    }

    private func addContentRange(_ plan: FilePlan, _ size: UInt64, to response: HTTPResponse) {
        guard plan.status == .partialContent || plan.status == .rangeNotSatisfiable else { return }
        response.begin("Content-Range")
        response.head.append("bytes ")
        if let range = plan.range {
            response.head.append(decimal: range.lowerBound)
            response.head.append(0x2D)
            response.head.append(decimal: range.upperBound - 1)
        } else {
            response.head.append(0x2A)
        }
        response.head.append(ASCII.slash)
        response.head.append(decimal: size)
        response.end()
    }
}

/// What of a file is to be sent.
private struct FilePlan {
    /// The status to answer with.
    let status: HTTPStatus
    /// The bytes that the answer is about; nil for none, and a status that explains why.
    let range: Range<UInt64>?
    /// The bytes to send: none to a HEAD.
    private(set) var body: Range<UInt64>?

    /// Whether one block holds all bytes to send.
    var fitsOneBlock: Bool {
        guard let body else { return false }
        return body.upperBound - body.lowerBound <= UInt64(BlockBudget.largest)
    }

    /// The conditions first, then the range (RFC 9110 section 13.2.2).
    @inline(never)
    @Core init(_ request: HTTPRequest, _ size: UInt64, _ validators: HTTPValidators) {
        self = request.withHead { FilePlan($0, request.head, size, validators) }
        if request.method == .get, let range, !range.isEmpty { body = range }
    }

    private init(_ status: HTTPStatus, _ range: Range<UInt64>? = nil) {
        self.status = status
        self.range = range
    }

    private init(
        _ bytes: RawSpan, _ head: HTTPRequestHead, _ size: UInt64, _ validators: HTTPValidators
    ) {
        guard head.isConditional else {
            self.init(.ok, 0..<size)
            return
        }
        switch HTTPConditions(bytes, fields: head.fields, validators) {
        case .notModified: self.init(.notModified)
        case .failed: self.init(.preconditionFailed)
        case .proceed:
            var cursor = HTTPFieldCursor(offset: head.fields)
            guard head.method == .get, let value = cursor.next("range", in: bytes),
                cursor.next("range", in: bytes) == nil,
                HTTPConditions.allowRange(bytes, fields: head.fields, validators)
            else {
                self.init(.ok, 0..<size)
                return
            }
            switch HTTPRange(bytes, value, size: size) {
            case .whole: self.init(.ok, 0..<size)
            case .part(let range): self.init(.partialContent, range)
            case .unsatisfiable: self.init(.rangeNotSatisfiable)
            }
        }
    }
}

extension HTTPValidators {
    /// The validators of a file: its tag changes with its identity, its time and its length.
    @inline(never) init(_ attributes: FileAttributes, now: WallTime?) {
        var tag: [UInt8] = []
        tag.reserveCapacity(72)
        HTTPValidators.append(0x22, attributes.identity, to: &tag)
        let modified = attributes.modified
        HTTPValidators.append(0x2D, UInt64(bitPattern: modified.seconds), to: &tag)
        HTTPValidators.append(ASCII.dot, UInt64(modified.nanoseconds), to: &tag)
        HTTPValidators.append(0x2D, attributes.size, to: &tag)
        HTTPValidators.append(0x22, nil, to: &tag)
        entityTag = tag
        // A time in the future must not be sent (section 8.8.2.1).
        let seconds = modified.seconds
        lastModified = HTTPDate(seconds: now.map { min($0.seconds, seconds) } ?? seconds)
        isDateStrong = now.map { seconds < $0.seconds } ?? false
    }

    /// Adds a mark and, in hexadecimal, what follows it.
    @inline(never) private static func append(
        _ mark: UInt8, _ number: UInt64?, to tag: inout [UInt8]
    ) {
        var shift: UInt64 = number == nil ? 0 : 64
        let number = number ?? 0
        while shift > 4, number >> (shift - 4) == 0 { shift -= 4 }
        var byte = mark
        while true {
            tag.append(byte)
            if shift == 0 { return }
            shift -= 4
            byte = ASCII.hexDigit(UInt8(truncatingIfNeeded: number >> shift))
        }
    }
}
