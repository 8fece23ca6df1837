//! `lbc server`: the language server protocol on standard input and output.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use clap::Args;
use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response, ResponseError};
use lsp_types::notification::{
    Cancel, DidChangeTextDocument, DidChangeWatchedFiles, DidCloseTextDocument, DidOpenTextDocument,
    DidSaveTextDocument, Exit as ExitNotification, Initialized, Notification as _, PublishDiagnostics, ShowMessage,
};
use lsp_types::request::{
    CodeActionRequest, Completion, DocumentSymbolRequest, Formatting, GotoDefinition, HoverRequest, Initialize,
    InlayHintRequest, PrepareRenameRequest, References, RegisterCapability, Rename, Request as _, Shutdown,
};
use lsp_types::{
    CodeActionKind, CodeActionOptions, CodeActionProviderCapability, CompletionOptions, CompletionResponse,
    DidChangeWatchedFilesRegistrationOptions, DocumentSymbol, DocumentSymbolResponse, FileSystemWatcher, GlobPattern,
    GotoDefinitionResponse, HoverProviderCapability, InitializeParams, InitializeResult, Location, MessageType, OneOf,
    Position, PrepareRenameResponse, PublishDiagnosticsParams, Registration, RegistrationParams, RenameOptions,
    ServerCapabilities, ServerInfo, ShowMessageParams, SymbolInformation, TextDocumentSyncCapability,
    TextDocumentSyncKind, TextDocumentSyncOptions, TextDocumentSyncSaveOptions, Uri,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::server::analysis::Analysis;
use crate::server::wire::{Incoming, read};
use crate::server::{actions, completion, definition, formatting, hints, hover, outline, references, rename};
use crate::source::SourceId;

use super::input::Declarations;
use super::workspace::Workspace;
use super::{Exit, Failure};

/// Speak the language server protocol on standard input and output, for editors
#[derive(Debug, Args)]
pub struct Server {
    #[command(flatten)]
    declarations: Declarations,
}

/// Messages that are read ahead: how many a cancellation can overtake.
const MAX_AHEAD: usize = 1024;

type Answer = Result<Value, ResponseError>;

impl Server {
    pub fn run(&self) -> Result<Exit, Failure> {
        let (sender, incoming) = sync_channel(MAX_AHEAD);
        // Reading blocks; the thread ends with the process.
        std::thread::spawn(move || {
            let mut input = BufReader::new(io::stdin());
            loop {
                let next = read(&mut input).transpose();
                let is_last = !matches!(next, Some(Ok(_)));
                if next.is_some_and(|next| sender.send(next).is_err()) || is_last {
                    return;
                }
            }
        });
        Session::new(Workspace::new(self.declarations.clone()), incoming).run()
    }
}

/// How far the conversation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Running,
    ShutDown,
}

struct Session {
    workspace: Workspace,
    incoming: Receiver<io::Result<Incoming>>,
    queue: VecDeque<Incoming>,
    phase: Phase,
    /// Whether the editor knows symbols below symbols.
    nests_symbols: bool,
    /// Whether the editor can be asked to watch files.
    watches: bool,
    requests: i32,
}

impl Session {
    fn new(workspace: Workspace, incoming: Receiver<io::Result<Incoming>>) -> Session {
        let queue = VecDeque::new();
        Session { workspace, incoming, queue, phase: Phase::Fresh, nests_symbols: false, watches: false, requests: 0 }
    }

    fn run(mut self) -> Result<Exit, Failure> {
        loop {
            self.read_ahead()?;
            if self.queue.is_empty() {
                // Nobody waits for an answer: now there is time to tell what was found.
                self.tell()?;
                match self.incoming.recv() {
                    Ok(next) => self.push(next)?,
                    Err(_) => return Ok(self.exit()),
                }
                continue;
            }
            match self.queue.pop_front() {
                Some(Incoming::Message(Message::Request(request))) => self.request(request)?,
                Some(Incoming::Message(Message::Notification(notification))) => {
                    if notification.method == ExitNotification::METHOD {
                        return Ok(self.exit());
                    }
                    self.notification(notification);
                }
                // Of what is asked of the editor nothing is needed.
                Some(Incoming::Message(Message::Response(_))) | None => {}
                Some(Incoming::Wrong(answer)) => write(&answer)?,
            }
        }
    }

    /// As the protocol has it: 0 after `shutdown`, else 1.
    fn exit(&self) -> Exit {
        if self.phase == Phase::ShutDown { Exit::Clean } else { Exit::Findings }
    }

    fn push(&mut self, next: io::Result<Incoming>) -> Result<(), Failure> {
        let next = next.map_err(|error| Failure::new(format!("standard input: {error}")))?;
        if let Incoming::Message(Message::Notification(one)) = &next
            && one.method == Cancel::METHOD
        {
            return self.cancel(&one.params);
        }
        self.queue.push_back(next);
        Ok(())
    }

    /// Takes in what has been read so far, so that a request can be cancelled before it is answered.
    fn read_ahead(&mut self) -> Result<(), Failure> {
        while self.queue.len() < MAX_AHEAD {
            match self.incoming.try_recv() {
                Ok(next) => self.push(next)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn cancel(&mut self, params: &Value) -> Result<(), Failure> {
        let Ok(id) = serde_json::from_value::<RequestId>(params["id"].clone()) else { return Ok(()) };
        let is_it = |one: &Incoming| matches!(one, Incoming::Message(Message::Request(request)) if request.id == id);
        match self.queue.iter().position(is_it) {
            Some(at) => {
                self.queue.remove(at);
                respond(id, Err(error(ErrorCode::RequestCanceled, "cancelled")))
            }
            None => Ok(()),
        }
    }

    /// Tells the editor what was found.
    fn tell(&mut self) -> Result<(), Failure> {
        if self.phase != Phase::Running {
            return Ok(());
        }
        let found = catch_unwind(AssertUnwindSafe(|| {
            self.workspace.refresh();
            (self.workspace.problems(), self.workspace.news())
        }));
        // The hook has told; the next change is looked at again.
        let Ok((problems, news)) = found else { return Ok(()) };
        for message in problems {
            notify::<ShowMessage>(ShowMessageParams { typ: MessageType::ERROR, message })?;
        }
        for one in news {
            let (uri, version, diagnostics) = (one.uri, one.version, one.diagnostics);
            notify::<PublishDiagnostics>(PublishDiagnosticsParams { uri, version, diagnostics })?;
        }
        Ok(())
    }

    fn notification(&mut self, one: Notification) {
        if self.phase != Phase::Running {
            return;
        }
        // What is not as the protocol has it is passed over: a notification has no answer.
        let done = catch_unwind(AssertUnwindSafe(|| match one.method.as_str() {
            Initialized::METHOD => self.watch(),
            DidOpenTextDocument::METHOD => {
                if let Some(params) = params::<lsp_types::DidOpenTextDocumentParams>(one.params) {
                    let document = params.text_document;
                    self.workspace.open(document.uri, document.version, document.text);
                }
            }
            DidChangeTextDocument::METHOD => {
                if let Some(params) = params::<lsp_types::DidChangeTextDocumentParams>(one.params) {
                    let document = params.text_document;
                    self.workspace.change(&document.uri, document.version, params.content_changes);
                }
            }
            DidCloseTextDocument::METHOD => {
                if let Some(params) = params::<lsp_types::DidCloseTextDocumentParams>(one.params) {
                    self.workspace.close(&params.text_document.uri);
                }
            }
            DidSaveTextDocument::METHOD | DidChangeWatchedFiles::METHOD => self.workspace.reload(),
            _ => {}
        }));
        // The hook has told of a panic.
        drop(done);
    }

    /// Asks the editor to tell of files that change on the disk.
    fn watch(&mut self) {
        if !self.watches {
            return;
        }
        let watchers = ["**/*.lb", "**/lbc.toml"]
            .map(|pattern| FileSystemWatcher { glob_pattern: GlobPattern::String(pattern.to_owned()), kind: None });
        let options = DidChangeWatchedFilesRegistrationOptions { watchers: watchers.to_vec() };
        let registration = Registration {
            id: "files".to_owned(),
            method: DidChangeWatchedFiles::METHOD.to_owned(),
            register_options: serde_json::to_value(options).ok(),
        };
        self.requests += 1;
        let request = Request::new(
            RequestId::from(self.requests),
            RegisterCapability::METHOD.to_owned(),
            RegistrationParams { registrations: vec![registration] },
        );
        // An output that is gone is noticed with the next answer.
        let _ = send(&Message::Request(request));
    }

    fn request(&mut self, request: Request) -> Result<(), Failure> {
        let id = request.id.clone();
        let answer = match (self.phase, request.method.as_str()) {
            (Phase::Fresh, Initialize::METHOD) => self.initialize(request.params),
            (Phase::Fresh, _) => Err(error(ErrorCode::ServerNotInitialized, "the first request is `initialize`")),
            (Phase::Running, Initialize::METHOD) => {
                Err(error(ErrorCode::InvalidRequest, "`initialize` is sent only once"))
            }
            (Phase::Running, Shutdown::METHOD) => {
                self.phase = Phase::ShutDown;
                Ok(Value::Null)
            }
            (Phase::Running, _) => catch_unwind(AssertUnwindSafe(|| self.answer(request)))
                .unwrap_or_else(|_| Err(error(ErrorCode::InternalError, "internal error: this is a bug of lbc"))),
            (Phase::ShutDown, _) => Err(error(ErrorCode::InvalidRequest, "after `shutdown` there is only `exit`")),
        };
        respond(id, answer)
    }

    fn initialize(&mut self, value: Value) -> Answer {
        let params: InitializeParams = required(value)?;
        let document = params.capabilities.text_document.unwrap_or_default();
        let symbols = document.document_symbol.and_then(|one| one.hierarchical_document_symbol_support);
        self.nests_symbols = symbols.unwrap_or(false);
        let workspace = params.capabilities.workspace.unwrap_or_default();
        let watching = workspace.did_change_watched_files.and_then(|one| one.dynamic_registration);
        self.watches = watching.unwrap_or(false);
        self.phase = Phase::Running;
        let server_info = ServerInfo { name: "lbc".to_owned(), version: Some(env!("CARGO_PKG_VERSION").to_owned()) };
        value_of(InitializeResult { capabilities: capabilities(), server_info: Some(server_info) })
    }

    fn answer(&mut self, request: Request) -> Answer {
        let value = request.params;
        self.workspace.refresh();
        match request.method.as_str() {
            HoverRequest::METHOD => {
                let params: lsp_types::HoverParams = required(value)?;
                let at = params.text_document_position_params;
                value_of(
                    self.at(&at.text_document.uri, at.position)
                        .and_then(|(analysis, source, offset)| hover::hover(analysis, source, offset)),
                )
            }
            GotoDefinition::METHOD => {
                let params: lsp_types::GotoDefinitionParams = required(value)?;
                let at = params.text_document_position_params;
                value_of(self.at(&at.text_document.uri, at.position).map(|(analysis, source, offset)| {
                    GotoDefinitionResponse::Array(definition::definition(analysis, source, offset))
                }))
            }
            References::METHOD => {
                let params: lsp_types::ReferenceParams = required(value)?;
                let at = params.text_document_position;
                value_of(self.references(&at.text_document.uri, at.position, params.context.include_declaration))
            }
            PrepareRenameRequest::METHOD => {
                let at: lsp_types::TextDocumentPositionParams = required(value)?;
                value_of(self.at(&at.text_document.uri, at.position).and_then(|(analysis, source, offset)| {
                    let (name, span) = analysis.names().find(source, offset)?;
                    let range = analysis.range(source, span);
                    Some(PrepareRenameResponse::RangeWithPlaceholder { range, placeholder: name.to_owned() })
                }))
            }
            Rename::METHOD => {
                let params: lsp_types::RenameParams = required(value)?;
                let at = params.text_document_position;
                self.rename(&at.text_document.uri, at.position, &params.new_name)
            }
            Completion::METHOD => {
                let params: lsp_types::CompletionParams = required(value)?;
                let at = params.text_document_position;
                value_of(self.at(&at.text_document.uri, at.position).map(|(analysis, source, offset)| {
                    CompletionResponse::Array(completion::completion(analysis, source, offset))
                }))
            }
            Formatting::METHOD => {
                let params: lsp_types::DocumentFormattingParams = required(value)?;
                let found = self.workspace.find(&params.text_document.uri);
                value_of(found.and_then(|(analysis, source)| formatting::formatting(analysis, source)))
            }
            CodeActionRequest::METHOD => {
                let params: lsp_types::CodeActionParams = required(value)?;
                let uri = params.text_document.uri;
                let found = self.workspace.find(&uri);
                value_of(found.map(|(analysis, source)| {
                    let span = analysis.lines(source).span(analysis.text(source), params.range);
                    let only = params.context.only.as_deref();
                    actions::actions(analysis, source, span, only, || self.workspace.fixed(&uri))
                }))
            }
            DocumentSymbolRequest::METHOD => {
                let params: lsp_types::DocumentSymbolParams = required(value)?;
                let uri = params.text_document.uri;
                let found = self.workspace.find(&uri);
                value_of(found.map(|(analysis, source)| {
                    let symbols = outline::outline(analysis, source);
                    match self.nests_symbols {
                        true => DocumentSymbolResponse::Nested(symbols),
                        false => DocumentSymbolResponse::Flat(flat(&uri, symbols)),
                    }
                }))
            }
            InlayHintRequest::METHOD => {
                let params: lsp_types::InlayHintParams = required(value)?;
                let found = self.workspace.find(&params.text_document.uri);
                value_of(found.map(|(analysis, source)| {
                    let span = analysis.lines(source).span(analysis.text(source), params.range);
                    hints::hints(analysis, source, span)
                }))
            }
            method => Err(error(ErrorCode::MethodNotFound, &format!("there is no `{method}` here"))),
        }
    }

    /// A place in a document: its program, its number there, and the byte.
    fn at(&self, uri: &Uri, position: Position) -> Option<(&Analysis, SourceId, u32)> {
        let (analysis, source) = self.workspace.find(uri)?;
        Some((analysis, source, analysis.lines(source).offset(analysis.text(source), position)))
    }

    /// The name at a place, and every program that it may be used in.
    fn name(&self, uri: &Uri, position: Position) -> Option<(String, Vec<Uri>)> {
        let (analysis, source, offset) = self.at(uri, position)?;
        let (name, _) = analysis.names().find(source, offset)?;
        let declared = analysis.names().declarations(name).filter_map(|one| analysis.uri(one.loc.source).cloned());
        let mut files: Vec<Uri> = declared.collect();
        files.push(uri.clone());
        Some((name.to_owned(), files))
    }

    fn references(&self, uri: &Uri, position: Position, declarations: bool) -> Option<Vec<Location>> {
        let (name, files) = self.name(uri, position)?;
        let others = self.workspace.with_files(&files);
        let own = files.iter().flat_map(|file| self.workspace.programs_of(file));
        Some(references::references(own.chain(&others), &name, declarations))
    }

    fn rename(&self, uri: &Uri, position: Position, new: &str) -> Answer {
        let Some((name, files)) = self.name(uri, position) else { return Ok(Value::Null) };
        let others = self.workspace.with_files(&files);
        let own = files.iter().flat_map(|file| self.workspace.programs_of(file));
        let all: Vec<&Analysis> = own.chain(&others).collect();
        match rename::rename(&all, &name, new) {
            Ok(edit) => value_of(edit),
            Err(message) => Err(error(ErrorCode::RequestFailed, &message)),
        }
    }
}

fn capabilities() -> ServerCapabilities {
    ServerCapabilities {
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(TextDocumentSyncSaveOptions::Supported(true)),
            ..TextDocumentSyncOptions::default()
        })),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: lsp_types::WorkDoneProgressOptions::default(),
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some([" ", ",", ">", "{", "="].map(str::to_owned).to_vec()),
            ..CompletionOptions::default()
        }),
        document_formatting_provider: Some(OneOf::Left(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
            code_action_kinds: Some(vec![CodeActionKind::QUICKFIX, actions::FIX_ALL]),
            ..CodeActionOptions::default()
        })),
        inlay_hint_provider: Some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    }
}

/// Symbols for an editor that knows none below others.
#[allow(deprecated, reason = "the protocol's type has an old field")]
fn flat(uri: &Uri, symbols: Vec<DocumentSymbol>) -> Vec<SymbolInformation> {
    let one = |symbol: DocumentSymbol| SymbolInformation {
        name: symbol.name,
        kind: symbol.kind,
        tags: None,
        deprecated: None,
        location: Location::new(uri.clone(), symbol.range),
        container_name: None,
    };
    symbols.into_iter().map(one).collect()
}

fn params<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

fn required<T: DeserializeOwned>(value: Value) -> Result<T, ResponseError> {
    serde_json::from_value(value).map_err(|problem| error(ErrorCode::InvalidParams, &problem.to_string()))
}

fn value_of(answer: impl serde::Serialize) -> Answer {
    serde_json::to_value(answer).map_err(|problem| error(ErrorCode::InternalError, &problem.to_string()))
}

fn error(code: ErrorCode, message: &str) -> ResponseError {
    ResponseError { code: code as i32, message: message.to_owned(), data: None }
}

fn respond(id: RequestId, answer: Answer) -> Result<(), Failure> {
    send(&Message::Response(Response { id, response_result: answer }))
}

fn notify<N: lsp_types::notification::Notification>(params: N::Params) -> Result<(), Failure> {
    send(&Message::Notification(Notification::new(N::METHOD.to_owned(), params)))
}

fn send(message: &Message) -> Result<(), Failure> {
    message.write(&mut io::stdout().lock()).map_err(gone)
}

/// An answer that is no [`Message`]: its id may be null.
fn write(answer: &Value) -> Result<(), Failure> {
    let text = json!(answer).to_string();
    let mut output = io::stdout().lock();
    write!(output, "Content-Length: {}\r\n\r\n{text}", text.len()).and_then(|()| output.flush()).map_err(gone)
}

fn gone(error: io::Error) -> Failure {
    Failure::new(format!("standard output: {error}"))
}
