"""gradio's MCP server with what it leaves out: results as JSON, and the schemas that they keep to."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from gradio.mcp import GradioMCPServer
from mcp import types
from mcp.server import Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager


class TypedTools(GradioMCPServer):
    """The tools of a launched page."""

    # gradio looks these up when it is imported, which is before there was any need of `mcp`.
    types = types
    Server = Server
    ReadResourceContents = ReadResourceContents
    SseServerTransport = SseServerTransport
    StreamableHTTPSessionManager = StreamableHTTPSessionManager

    def __init__(self, blocks: gr.Blocks):
        super().__init__(blocks)
        self._local_url = blocks.local_url

    def create_mcp_server(self) -> Server[Any]:
        """gradio's server, whose tools say what they return and return it as JSON too."""
        server = super().create_mcp_server()
        listing, calling = (server.request_handlers[kind] for kind in (types.ListToolsRequest, types.CallToolRequest))

        async def list_tools(request: types.ListToolsRequest) -> types.ServerResult:
            result = await listing(request)
            assert isinstance(result.root, types.ListToolsResult)
            for tool in result.root.tools:
                tool.outputSchema = self.output_schema(tool.name)
                tool.annotations = types.ToolAnnotations(readOnlyHint=True)
            return result

        async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
            result = await calling(request)
            said = result.root
            if isinstance(said, types.CallToolResult) and not said.isError:
                (content,) = said.content
                assert isinstance(content, types.TextContent)
                value = json.loads(content.text)
                said.structuredContent = value if isinstance(value, dict) else {"result": value}
            return result

        server.request_handlers |= {types.ListToolsRequest: list_tools, types.CallToolRequest: call_tool}
        return server

    def output_schema(self, name: str) -> dict[str, Any]:
        """What a tool returns; a list stands under `result`, since MCP wants an object."""
        (returned,) = self.api_info["named_endpoints"][self.tool_to_endpoint[name]]["returns"]
        schema = dict(returned["type"])
        if schema.get("type") == "object":
            return schema
        return {"type": "object", "properties": {"result": schema}, "required": ["result"]}

    def postprocess_output_data(self, data: Any, root_url: str) -> list[types.TextContent | types.ImageContent]:
        """A result as JSON; gradio would write it as Python does."""
        return [types.TextContent(type="text", text=json.dumps(value, ensure_ascii=False)) for value in data]
